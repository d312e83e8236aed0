// Which programs refuse our certificate for which hosts, and have therefore learned to pass. Pure: the time
// is passed in.
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
#include <utility>
#include <vector>

namespace mitm::intercept {

/// How a program turned our certificate down.
enum class Refusal : std::uint8_t { none, unknown_ca, bad_certificate, certificate_unknown, closed };
/// "alert unknown ca", "closed the connection right after it", ...
std::string_view to_string(Refusal refusal);

struct LearnedSettings {
  std::chrono::seconds ttl{600};  ///< how long a host passes; 0: nothing is ever learned
  unsigned after = 3;             ///< refusals in a row
  /// False: our CA is in no trust store and the program was not started with it. Then unknown_ca is what is
  /// to be expected of every program, and teaches nothing.
  bool ca_trusted = true;
  /// Within which a program that leaves without a word has refused the certificate.
  std::chrono::milliseconds at_once{500};
};

/// Refusals count when none of them is older than the ttl and no connection of that program to that host was
/// accepted in between. Any thread. At most kMax pairs are known; the oldest gives way.
class Learned {
 public:
  using Time = std::chrono::system_clock::time_point;
  static constexpr std::size_t kMax = 1000;

  struct Entry {
    std::string program;  ///< path of the executable
    std::string host;     ///< SNI, else the server's address
    Refusal refusal = Refusal::none;
    unsigned failures = 0;
    Time until;  ///< passes, or is remembered, until then
    bool passes = false;
  };

  explicit Learned(LearnedSettings settings = {}) : settings_(settings) {}

  /// Called after each change of the list, on the thread that made it. Set before the first connection.
  void on_change(std::function<void()> call) { on_change_ = std::move(call); }

  [[nodiscard]] const LearnedSettings& settings() const { return settings_; }

  /// `program` has refused us. Returns what follows from that, for the flow: "refusal 1 of 3, then ...";
  /// empty: nothing does.
  std::string refused(std::string_view program, std::string_view host, Refusal refusal, Time now);
  /// `program` has trusted us: its refusals were none of the certificate's.
  void accepted(std::string_view program, std::string_view host, Time now);
  /// Whether it has done so within the last ten minutes. Browsers open connections in advance and close at
  /// once those that turn out not to be needed: this is no refusal then.
  [[nodiscard]] bool trusts(std::string_view program, std::string_view host, Time now) const;
  /// Why `program` passes to `host`; empty: it does not.
  [[nodiscard]] std::string reason_to_pass(std::string_view program, std::string_view host, Time now) const;

  /// Those that pass now.
  [[nodiscard]] std::vector<Entry> list(Time now) const;
  void forget(std::string_view program, std::string_view host);
  /// Changes with every change of the list, but not when a time has run out.
  [[nodiscard]] std::uint64_t version() const { return version_.load(); }

 private:
  using Key = std::pair<std::string, std::string>;

  void make_room(Time now);
  [[nodiscard]] bool drop(const Key& key);
  void changed() const;

  const LearnedSettings settings_;
  std::function<void()> on_change_;
  mutable std::mutex mutex_;
  std::map<Key, Entry> entries_;
  std::map<Key, Time> trusting_;   ///< when a pair was seen last to trust us; at most kMax of them
  std::atomic<bool> empty_{true};  ///< most runs: nobody takes the lock
  std::atomic<std::uint64_t> version_{0};
};

/// "10 minutes", "90 seconds", "1 hour".
std::string in_words(std::chrono::seconds time);

}  // namespace mitm::intercept
