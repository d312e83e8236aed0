// The searching thread, with searches that last as long as the test wants.
#include "divert/packet/owner_lookup_thread.h"

#include <condition_variable>
#include <mutex>

#include "tests/test.h"

namespace {

using namespace divert;
using namespace std::chrono_literals;

LookUp look_up(std::uint16_t port) {
  return {{base::parse_endpoint("192.0.2.1:" + std::to_string(port)).value(),
           base::parse_endpoint("198.51.100.7:443").value()},
          port};
}

// Searches for port 1 hang until the bench is taken down; the others' owners have a descriptor that
// is their port.
struct Bench {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::pair<std::uint64_t, procmap::Owner>> found;  // by token
  int hanging = 0;
  int made = 0;
  bool down = false;
  std::unique_ptr<OwnerLookupThread> searcher;

  Bench() {
    auto started = OwnerLookupThread::start(
        [this]() -> base::Result<OwnerLookupThread::Search> {
          ++made;
          return OwnerLookupThread::Search{[this](auto sought, auto) { return search(sought); }};
        },
        [this](const LookUp& wanted, procmap::Owner owner) {
          const std::lock_guard lock{mutex};
          found.emplace_back(wanted.token, std::move(owner));
          changed.notify_all();
        });
    REQUIRE(started);
    searcher = std::move(*started);
  }
  ~Bench() {
    searcher.reset();
    std::unique_lock lock{mutex};
    down = true;
    changed.notify_all();
    changed.wait(lock, [this] { return hanging == 0; });
  }

  std::vector<procmap::Owner> search(std::span<const procmap::SocketQuery> sought) {
    std::unique_lock lock{mutex};
    std::vector<procmap::Owner> owners;
    for (const auto& one : sought) {
      owners.push_back({std::nullopt, nullptr, one.source.port()});
      if (one.source.port() != 1) continue;
      ++hanging;
      changed.notify_all();
      changed.wait(lock, [this] { return down; });
      --hanging;
      changed.notify_all();
    }
    return owners;
  }

  template <class Condition>
  bool wait_for(Condition condition) {
    std::unique_lock lock{mutex};
    return changed.wait_for(lock, 10s, condition);
  }
  bool mind_later() {
    return searcher->check(OwnerLookupThread::Clock::now() + OwnerLookupThread::kHangTimeout);
  }
};

}  // namespace

TEST_CASE("searcher: finds what it is asked for") {
  Bench bench;
  for (std::uint16_t port = 2; port < 50; ++port) bench.searcher->ask(look_up(port));
  REQUIRE(bench.wait_for([&] { return bench.found.size() == 48; }));
  for (const auto& [token, owner] : bench.found) {
    CHECK(owner.descriptor == static_cast<int>(token));
    CHECK(owner.in_time);
  }
  CHECK(bench.mind_later());
  CHECK(bench.made == 1);
}

TEST_CASE("searcher: one that hangs is given up, and another goes on") {
  Bench bench;
  bench.searcher->ask(look_up(1));
  REQUIRE(bench.wait_for([&] { return bench.hanging == 1; }));
  bench.searcher->ask(look_up(7));
  CHECK(bench.searcher->check(OwnerLookupThread::Clock::now()));
  CHECK(bench.found.empty());
  CHECK(bench.mind_later());
  REQUIRE(bench.wait_for([&] { return bench.found.size() == 2; }));
  CHECK(bench.found[0].first == 1);
  CHECK_FALSE(bench.found[0].second.in_time);
  CHECK(bench.found[1].first == 7);
  CHECK(bench.found[1].second.descriptor == 7);
  CHECK(bench.made == 2);
}

TEST_CASE("searcher: what hangs again and again is reported") {
  Bench bench;
  for (int i = 1; i <= OwnerLookupThread::kMaxHanging; ++i) {
    bench.searcher->ask(look_up(1));
    REQUIRE(bench.wait_for([&] { return bench.hanging == i; }));
    REQUIRE(bench.mind_later());
  }
  bench.searcher->ask(look_up(1));
  REQUIRE(bench.wait_for([&] { return bench.hanging == OwnerLookupThread::kMaxHanging + 1; }));
  CHECK_FALSE(bench.mind_later());
}
