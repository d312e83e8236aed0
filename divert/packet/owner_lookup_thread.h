// Looks for the owners of connections, on a thread beside those that must not wait. A search may
// hang for ever: a name service need not answer, and a reader of a process's arguments waits for
// its memory ("ps hangs"). It is given up then, and another thread goes on.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/error.h"
#include "divert/packet/pending_connections.h"

namespace divert {

class OwnerLookupThread {
 public:
  using Clock = std::chrono::steady_clock;
  /// The owners, in order. Used by one thread only.
  using Search = std::function<std::vector<procmap::Owner>(
      std::span<const procmap::SocketQuery> sought, std::chrono::milliseconds limit)>;
  using MakeSearch = std::function<base::Result<Search>()>;
  using Found = std::function<void(const LookUp& wanted, procmap::Owner owner)>;

  /// What a search is asked to keep to; it ends with "unknown" then.
  static constexpr std::chrono::milliseconds kLimit{2000};
  /// One that has not ended by then hangs.
  static constexpr std::chrono::milliseconds kHangTimeout{5000};
  static constexpr int kMaxHanging = 8;

  /// Starts the thread, on which `found` is called, as it is by check(). `make` may be called again
  /// later.
  [[nodiscard]] static base::Result<std::unique_ptr<OwnerLookupThread>> start(MakeSearch make,
                                                                              Found found);
  OwnerLookupThread(const OwnerLookupThread&) = delete;
  OwnerLookupThread& operator=(const OwnerLookupThread&) = delete;
  /// What is not found by now never is. Waits for a search that is under way, unless it hangs: its
  /// thread lasts as long as the process.
  ~OwnerLookupThread();

  /// From any thread; never blocks.
  void ask(const LookUp& wanted);

  /// To be called every now and then: gives up a search that hangs. Those that waited for it are
  /// "not found in time"; what has not been looked for yet is not touched. False: too many hang.
  [[nodiscard]] bool check(Clock::time_point now);

 private:
  struct Shared;

  OwnerLookupThread(MakeSearch make, Found found);
  base::Result<> appoint();
  static void run(const std::shared_ptr<Shared>& shared, unsigned number, const Search& search,
                  const Found& found);

  MakeSearch make_;
  Found found_;
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
  int hanging_ = 0;
};

}  // namespace divert
