// Each thread has a number; one whose number is no longer the current one has been given up, and
// keeps what it finds to itself.
#include "divert/packet/owner_lookup_thread.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "divert/process/thread_priority.h"

namespace divert {

struct OwnerLookupThread::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<LookUp> waiting;
  std::vector<LookUp> wanted;  ///< by the search that is under way
  std::optional<Clock::time_point> began;
  unsigned current = 0;  ///< number of the thread in office
  bool stopping = false;
  bool ended = false;  ///< the thread in office

  [[nodiscard]] bool hangs(Clock::time_point now) const {
    return began && now - *began >= kHangTimeout;
  }
};

OwnerLookupThread::OwnerLookupThread(MakeSearch make, Found found)
    : make_(std::move(make)), found_(std::move(found)), shared_(std::make_shared<Shared>()) {}

base::Result<std::unique_ptr<OwnerLookupThread>> OwnerLookupThread::start(MakeSearch make,
                                                                          Found found) {
  std::unique_ptr<OwnerLookupThread> searcher{
      new OwnerLookupThread{std::move(make), std::move(found)}};
  if (auto appointed = searcher->appoint(); !appointed) return appointed.error();
  return searcher;
}

base::Result<> OwnerLookupThread::appoint() {
  auto search = make_();
  if (!search) return search.error();
  unsigned number = 0;
  {
    const std::lock_guard lock{shared_->mutex};
    number = shared_->current;
  }
  thread_ = std::thread{[shared = shared_, number, search = std::move(*search), found = found_] {
    run(shared, number, search, found);
  }};
  return {};
}

OwnerLookupThread::~OwnerLookupThread() {
  if (!thread_.joinable()) return;
  bool ended = false;
  {
    std::unique_lock lock{shared_->mutex};
    shared_->stopping = true;
    shared_->changed.notify_all();
    const auto limit = shared_->hangs(Clock::now()) ? std::chrono::milliseconds{0} : kHangTimeout;
    ended = shared_->changed.wait_for(lock, limit, [this] { return shared_->ended; });
    ++shared_->current;
  }
  ended ? thread_.join() : thread_.detach();
}

void OwnerLookupThread::ask(const LookUp& wanted) {
  const std::lock_guard lock{shared_->mutex};
  shared_->waiting.push_back(wanted);
  shared_->changed.notify_all();
}

bool OwnerLookupThread::check(Clock::time_point now) {
  std::vector<LookUp> given_up;
  {
    const std::lock_guard lock{shared_->mutex};
    if (!shared_->hangs(now)) return true;
    given_up = std::exchange(shared_->wanted, {});
    shared_->began.reset();
    ++shared_->current;
  }
  thread_.detach();
  for (const LookUp& wanted : given_up) {
    procmap::Owner unknown;
    unknown.in_time = false;
    found_(wanted, std::move(unknown));
  }
  return ++hanging_ <= kMaxHanging && appoint();
}

void OwnerLookupThread::run(const std::shared_ptr<Shared>& shared, unsigned number,
                            const Search& search, const Found& found) {
  name_thread("owners");
  std::unique_lock lock{shared->mutex};
  for (;;) {
    shared->changed.wait(lock, [&] { return shared->stopping || !shared->waiting.empty(); });
    if (shared->stopping) break;
    // All that wait, together: a program with a thousand sockets that cannot be found keeps the
    // others waiting for one search, not for a thousand.
    const std::vector<LookUp> wanted = std::exchange(shared->waiting, {});
    shared->wanted = wanted;
    shared->began = Clock::now();
    lock.unlock();
    std::vector<procmap::SocketQuery> list;
    for (const LookUp& one : wanted) list.push_back(sought(one.key, one.interface));
    auto owners = search(list, kLimit);
    lock.lock();
    if (shared->current != number) return;
    shared->wanted.clear();
    shared->began.reset();
    if (shared->stopping) break;
    lock.unlock();
    for (std::size_t i = 0; i < wanted.size(); ++i) found(wanted[i], std::move(owners[i]));
    lock.lock();
  }
  shared->ended = true;
  shared->changed.notify_all();
}

}  // namespace divert
