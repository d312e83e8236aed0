// How pf decides about packets, as far as our anchors and the rules that users have beside them go:
// the main ruleset and its anchors in order, `quick` and "the last match wins", tags, users and
// groups, route-to, and the second coming of a packet on lo0. Written from pf.conf(5), pf.c and
// what was seen on a real FreeBSD 14 kernel (design/facts-pf.md), not from the renderer.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/network.h"
#include "pfctl/pf.h"

namespace pf_kernel {

/// Who made the socket that a packet belongs to.
struct Owner {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

struct Packet {
  std::string protocol = "tcp";
  base::Endpoint source;
  base::Endpoint destination;
  std::string flags = "S";  ///< of TCP
  std::uint8_t tos = 0;
  std::optional<Owner> owner{};  ///< empty: only forwarded, or made by a raw socket
};

/// What becomes of a packet.
enum class Fate : std::uint8_t {
  leaves,    ///< for its destination, on an interface
  arrives,   ///< at a server of this machine
  diverted,  ///< at a listener of ours, whose answers find their way back
  held,      ///< given to divert(4)
  blocked,   ///< by a rule
  lost,      ///< nobody takes it, or the answers to it go astray
};
const char* name_of(Fate fate);

struct Rule;

/// A machine whose pf is enabled. Everything that leaves it goes through em0 (en0).
class Kernel {
 public:
  explicit Kernel(pfctl::Dialect dialect);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  /// Throws std::runtime_error on a rule that this model does not know. Names of anchors as main
  /// has them.
  void load_main(std::string_view text);
  void load_anchor(const std::string& name, std::string_view text);

  /// This machine's addresses besides 127.0.0.0/8 and ::1; listeners' aliases are among them.
  std::set<base::Address> own{};
  /// Those of `own` on a VPN's interface (macOS): packets to them are routed into the tunnel.
  std::set<base::Address> tunnels{};
  std::set<base::Endpoint> listeners{};

  /// One that is sent here, or that this machine forwards. States are not kept from one call to the
  /// next, but for those that translation and normalization force upon a connection (FreeBSD 14): a
  /// packet is the first of its connection, or one that has lost its state.
  [[nodiscard]] Fate send(const Packet& packet);
  /// What divert(4) gets of a packet that is held.
  [[nodiscard]] const Packet& held() const { return held_; }
  /// The answer to a first packet that has just left.
  [[nodiscard]] Fate answer(const Packet& sent);
  /// Those that came by, in order, since the last send(): "pass out quick ...".
  [[nodiscard]] const std::vector<std::string>& decided() const { return decided_; }

 private:
  using Rules = std::vector<Rule>;
  struct Pass {
    const Packet& packet;
    std::string_view interface;
    bool in = false;
    std::string tag;
  };

  [[nodiscard]] Fate filter(const Packet& packet);
  [[nodiscard]] const Rule* first_of(std::string_view action, const Pass& pass) const;
  [[nodiscard]] std::vector<std::string> as_of_now(const std::vector<std::string>& members) const;
  [[nodiscard]] Rules parsed(std::string_view text);
  [[nodiscard]] std::string_view outside() const;
  [[nodiscard]] bool is_own(const base::Address& address) const;
  [[nodiscard]] bool holds_address(const struct Host& host, const base::Address& address) const;
  [[nodiscard]] bool matches(const Rule& rule, const Pass& pass) const;
  [[nodiscard]] std::vector<std::string> referred(const std::string& name) const;
  bool evaluate(const Rules& rules, Pass& pass, const Rule*& last);
  [[nodiscard]] const Rule* translation(const Rules& rules, const Pass& pass, bool& over) const;
  [[nodiscard]] Fate come_in(Packet packet, std::string_view interface, std::string tag);

  pfctl::Dialect dialect_;
  Rules main_;
  std::map<std::string, Rules> anchors_;
  std::map<std::string, std::vector<std::string>> tables_;
  std::vector<std::string> decided_;
  bool state_ = false;  ///< what was sent last has one
  const Rule* last_ = nullptr;
  Packet held_;
  std::map<std::pair<base::Endpoint, base::Endpoint>, const Rule*> forced_;
};

}  // namespace pf_kernel
