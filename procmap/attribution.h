// Socket -> process. The room's main entry.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/network.h"
#include "procmap/process.h"

namespace procmap {

/// What the kernel says of one socket, without walking any process.
struct SocketFacts {
  std::uint32_t inode = 0;  ///< Linux; elsewhere 0
  uid_t uid = 0;
  std::uint32_t interface = 0;  ///< bound device (idiag_if), 0: none
  std::uint64_t cgroup_id = 0;  ///< cgroup v2 id of the socket; 0 when the kernel does not say
  std::uint32_t mark = 0;       ///< SO_MARK, where the kernel says (Linux, CAP_NET_ADMIN)
  bool uid_known = true;        ///< false: nobody has the socket open any more, `uid` says nothing
  std::optional<gid_t> gid = {};  ///< of the socket's maker, where the kernel says (a held packet)
  // Of a socket whose process was not found: what filters can still ask about.
  std::string user = {};  ///< login name of `uid`, or the uid in decimal; empty: uid not known
  std::string cgroup =
      {};  ///< path of the cgroup v2 in which the socket was made; empty: not known
};

/// The owner of a connection; `process` is null for "unknown", which is a normal answer.
struct Owner {
  std::optional<SocketFacts> socket;  ///< empty: the kernel no longer knows the socket
  std::shared_ptr<const ProcessFacts> process;
  int descriptor = -1;  ///< the socket's number in the process
  bool in_time = true;  ///< false: the search for the process was given up at its limit
};

/// What can be said of an owner without a search.
struct Glance {
  Owner owner;
  bool needs_search = false;  ///< the process is not known; of the owner only `socket` is
};

enum class Transport : std::uint8_t { tcp, udp };

/// A connection as the program sees it (the *original* tuple).
struct Sought {
  base::Endpoint source;
  base::Endpoint destination;
  Transport transport = Transport::tcp;
  /// Index of the device that its packets leave by: a socket that is bound to a device is found
  /// only with it. 0: not known.
  std::uint32_t interface = 0;
};

/// Answers from caches where it can. Not thread-safe; blocks (usually microseconds, never longer
/// than `limit`). Sees all processes only as root (Linux: CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH).
class Attributor {
 public:
  [[nodiscard]] static base::Result<Attributor> open();
  Attributor(Attributor&&) noexcept;
  Attributor& operator=(Attributor&&) noexcept;
  ~Attributor();

  /// Works from SYN_SENT on.
  [[nodiscard]] Owner owner_of(const Sought& sought,
                               std::chrono::milliseconds limit = std::chrono::milliseconds{200});

  /// The owners of several, in their order. What takes a search is searched for once for all of
  /// them: however many there are, it takes no longer than for one.
  [[nodiscard]] std::vector<Owner> owners_of(std::span<const Sought> sought,
                                             std::chrono::milliseconds limit);

  /// The same as far as a few system calls that cannot block will do.
  [[nodiscard]] Glance owner_soon(const Sought& sought);
  /// Tells this one what another has found, so that it is found soon the next time.
  void learn(const Owner& owner);

  /// Facts of a process that lives now, cached by (pid, start time); null when there is no such
  /// process.
  [[nodiscard]] std::shared_ptr<const ProcessFacts> facts_of(pid_t pid);

 private:
  friend base::Result<std::vector<struct SocketRow>> socket_table(Attributor&);
  class State;
  explicit Attributor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// The numbers of all processes that the caller may see, in no order.
[[nodiscard]] std::vector<pid_t> live_processes();

/// One row of the table that `osproxy who` prints.
struct SocketRow {
  base::Endpoint local;
  base::Endpoint remote;  ///< port 0 for a listener
  std::string state;      ///< as in ss(8): ESTAB, LISTEN, SYN-SENT, ...
  Owner owner;
};

/// All TCP sockets of this network namespace (Linux) or machine with their owners: one dump, on
/// Linux one walk over /proc. Blocks for milliseconds.
[[nodiscard]] base::Result<std::vector<SocketRow>> socket_table(Attributor& attributor);

}  // namespace procmap
