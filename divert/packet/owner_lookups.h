// Owners of accepted connections, looked for on a thread of their own: a name service that does not
// answer, or a process whose arguments cannot be read, must not hold up the broker's loop.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "divert/packet/owner_hints.h"
#include "divert/packet/owner_lookup_thread.h"

namespace divert {

class OwnerLookups {
 public:
  /// A question about an accepted connection that has not been judged yet.
  struct Asked {
    FlowKey key;
    PendingQuestion to;
  };
  struct Found {
    Asked asked;
    procmap::Owner owner;
  };

  /// Questions that may wait; beyond that owners are "not found in time".
  static constexpr std::size_t kMaxWaiting = 4096;
  /// Of one search, for all that wait for it.
  static constexpr std::chrono::milliseconds kLimit = OwnerLookupThread::kLimit;

  /// Starts the thread. The second one, without glances, is for tests.
  [[nodiscard]] static base::Result<std::unique_ptr<OwnerLookups>> start();
  [[nodiscard]] static base::Result<std::unique_ptr<OwnerLookups>> start(
      OwnerLookupThread::MakeSearch make);
  OwnerLookups(const OwnerLookups&) = delete;
  OwnerLookups& operator=(const OwnerLookups&) = delete;
  ~OwnerLookups() = default;

  /// Its owner, when it can be said without a search.
  [[nodiscard]] std::optional<procmap::Owner> cached(const FlowKey& key);
  /// Never blocks.
  void ask(Asked asked);
  /// Readable when take() has something.
  [[nodiscard]] int descriptor() const { return bell_.out.get(); }
  [[nodiscard]] std::vector<Found> take();
  /// As OwnerLookupThread::check().
  [[nodiscard]] bool check(OwnerLookupThread::Clock::time_point now) {
    return lookup_thread_->check(now);
  }

 private:
  explicit OwnerLookups(base::Pipe bell) : bell_(std::move(bell)) {}
  void found(std::uint64_t token, procmap::Owner owner);

  base::Pipe bell_;
  std::optional<procmap::Attributor> at_hand_;  ///< of the thread that glances
  OwnerHints hints_;                            ///< by the other one
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, Asked> waiting_;
  std::vector<Found> found_;
  std::uint64_t next_token_ = 1;
  std::unique_ptr<OwnerLookupThread> lookup_thread_;  ///< last: its thread uses what is above
};

}  // namespace divert
