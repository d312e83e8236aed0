// Which programs of which users refuse our certificate for which hosts, and have therefore learned
// to pass. Pure: the time is passed in.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <sys/types.h>

namespace mitm::intercept {

/// How a program turned our certificate down.
enum class Refusal : std::uint8_t {
  none,
  unknown_ca,
  bad_certificate,
  certificate_unknown,
  closed,  ///< left without a word, after it had said what it would speak (ALPN)
  looked,  ///< left without a word, and may have wanted no more than to see a certificate
};
/// Whether the program has said nothing of the kind.
[[nodiscard]] constexpr bool is_silent(Refusal refusal) {
  return refusal == Refusal::closed || refusal == Refusal::looked;
}
/// "alert unknown ca", "closed the connection right after it", ...
std::string_view to_string(Refusal refusal);

struct PinningSettings {
  std::chrono::seconds ttl{600};  ///< how long a host passes; 0: nothing is ever learned
  unsigned after = 3;             ///< refusals in a row
  /// False: our CA is in no trust store and the program was not started with it. Then unknown_ca is
  /// what is to be expected of every program, and teaches nothing.
  bool ca_trusted = true;
  /// Within which a program that leaves without a word has refused the certificate.
  std::chrono::milliseconds at_once{500};
};

/// Whose connections are judged together. A user's programs teach nothing about those of another
/// user's.
struct Who {
  uid_t uid = 0;             ///< effective
  std::string_view program;  ///< path of the executable; empty: unknown, and nothing is learned
};

/// Refusals count when none of them is older than the ttl and no connection of that program to that
/// host was accepted in between. Two that only looked count as one; silence of a program that has
/// ever accepted us for that host counts as nothing. Any thread. At most kMax of each kind are
/// known; the oldest gives way.
class PinningCache {
 public:
  using Time = std::chrono::system_clock::time_point;
  static constexpr std::size_t kMax = 1000;

  struct Entry {
    uid_t uid = 0;
    std::string program;  ///< path of the executable
    std::string host;     ///< SNI, else the server's address
    Refusal refusal = Refusal::none;
    unsigned failures = 0;
    unsigned weight = 0;  ///< of the failures: 2 each, or 1
    Time until;           ///< passes, or is remembered, until then
    bool passes = false;
  };

  explicit PinningCache(PinningSettings settings = {}) : settings_(settings) {}

  /// Called after each change of the list, on the thread that made it. Set before the first
  /// connection.
  void on_change(std::function<void()> call) { on_change_ = std::move(call); }
  /// Called when an entry begins to pass; likewise.
  void on_pass(std::function<void(const Entry&)> call) { on_pass_ = std::move(call); }

  [[nodiscard]] const PinningSettings& settings() const { return settings_; }

  /// A program has refused us. Returns what follows from that, for the flow: "refusal 1 of 3, then
  /// ..."; empty: nothing does.
  std::string refused(const Who& who, std::string_view host, Refusal refusal, Time now);
  /// A program has trusted us (it has sent something inside TLS): its refusals were none of the
  /// certificate's.
  void accepted(const Who& who, std::string_view host, Time now);
  /// Whether it has done so in this run. Browsers open connections in advance and close at once
  /// those that turn out not to be needed: this is no refusal then.
  [[nodiscard]] bool trusts(const Who& who, std::string_view host) const;
  /// Why a program passes to `host`; empty: it does not.
  [[nodiscard]] std::string reason_to_pass(const Who& who, std::string_view host, Time now) const;

  /// Those that pass now.
  [[nodiscard]] std::vector<Entry> list(Time now) const;
  void forget(const Who& who, std::string_view host);
  /// Changes with every change of the list, but not when a time has run out.
  [[nodiscard]] std::uint64_t version() const { return version_.load(); }

 private:
  using Key = std::tuple<uid_t, std::string, std::string>;

  [[nodiscard]] std::string count(Entry& entry, Refusal refusal, Time now) const;
  void make_room(Time now);
  [[nodiscard]] bool drop(const Key& key);
  void changed() const;

  const PinningSettings settings_;
  std::function<void()> on_change_;
  std::function<void(const Entry&)> on_pass_;
  mutable std::mutex mutex_;
  std::map<Key, Entry> entries_;
  std::map<Key, Time> trusting_;   ///< when they were seen last to trust us
  std::atomic<bool> empty_{true};  ///< most runs: nobody takes the lock
  std::atomic<std::uint64_t> version_{0};
};

/// "10 minutes", "90 seconds", "1 hour".
std::string in_words(std::chrono::seconds time);

}  // namespace mitm::intercept
