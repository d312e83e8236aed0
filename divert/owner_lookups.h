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
#include "divert/learnt_owners.h"
#include "divert/searcher.h"

namespace divert {

class OwnerLookups {
 public:
  /// A question about an accepted connection that nobody has judged yet.
  struct Asked {
    FlowKey key;
    Waiter to;
  };
  struct Found {
    Asked asked;
    procmap::Owner owner;
  };

  /// Questions that may wait; beyond that owners are "not found in time".
  static constexpr std::size_t kMaxWaiting = 4096;
  /// Of one search, for all that wait for it.
  static constexpr std::chrono::milliseconds kLimit = Searcher::kLimit;

  /// Starts the thread. The second one, without glances, is for tests.
  [[nodiscard]] static base::Result<std::unique_ptr<OwnerLookups>> start();
  [[nodiscard]] static base::Result<std::unique_ptr<OwnerLookups>> start(Searcher::MakeSearch make);
  OwnerLookups(const OwnerLookups&) = delete;
  OwnerLookups& operator=(const OwnerLookups&) = delete;
  ~OwnerLookups() = default;

  /// Its owner, when it can be said without a search.
  [[nodiscard]] std::optional<procmap::Owner> glance(const FlowKey& key);
  /// Never blocks.
  void ask(Asked asked);
  /// Readable when take() has something.
  [[nodiscard]] int descriptor() const { return bell_.out.get(); }
  [[nodiscard]] std::vector<Found> take();
  /// As Searcher::mind().
  [[nodiscard]] bool mind(Searcher::Clock::time_point now) { return searcher_->mind(now); }

 private:
  explicit OwnerLookups(base::Pipe bell) : bell_(std::move(bell)) {}
  void found(std::uint64_t token, procmap::Owner owner);

  base::Pipe bell_;
  std::optional<procmap::Attributor> at_hand_;  ///< of the thread that glances
  LearntOwners learnt_;                         ///< by the other one
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, Asked> waiting_;
  std::vector<Found> found_;
  std::uint64_t next_token_ = 1;
  std::unique_ptr<Searcher> searcher_;  ///< last: its thread uses what stands above
};

}  // namespace divert
