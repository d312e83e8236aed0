// Lookups with searches that last as long as the test wants.
#include "divert/packet/owner_lookups.h"

#include <condition_variable>

#include <poll.h>

#include "tests/test.h"

using namespace divert;
using namespace std::chrono_literals;

namespace {

OwnerLookups::Asked question(std::uint64_t number) {
  const auto port = static_cast<std::uint16_t>(number);
  return {{base::parse_endpoint("192.0.2.1:" + std::to_string(port)).value(),
           base::parse_endpoint("198.51.100.7:443").value()},
          {3, number}};
}

/// A search that waits for open() and then finds an owner whose descriptor is the source's port.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_open = false;

  void open() {
    const std::lock_guard lock{mutex};
    is_open = true;
    changed.notify_all();
  }
  std::vector<procmap::Owner> search(std::span<const procmap::SocketQuery> sought) {
    std::unique_lock lock{mutex};
    changed.wait(lock, [this] { return is_open; });
    std::vector<procmap::Owner> owners;
    for (const auto& one : sought) owners.push_back({std::nullopt, nullptr, one.source.port()});
    return owners;
  }
};

/// A thread that was given up may still be in the gate when its test has ended.
std::unique_ptr<OwnerLookups> start(const std::shared_ptr<Gate>& gate) {
  auto lookups = OwnerLookups::start([gate]() -> base::Result<OwnerLookupThread::Search> {
    return OwnerLookupThread::Search{[gate](auto sought, auto) { return gate->search(sought); }};
  });
  REQUIRE(lookups);
  return std::move(*lookups);
}

std::vector<OwnerLookups::Found> take(OwnerLookups& lookups, std::size_t count) {
  std::vector<OwnerLookups::Found> all;
  while (all.size() < count) {
    pollfd ready{lookups.descriptor(), POLLIN, 0};
    REQUIRE(::poll(&ready, 1, 10'000) == 1);
    for (auto& one : lookups.take()) all.push_back(std::move(one));
  }
  return all;
}

}  // namespace

TEST_CASE("owner_lookups: asking never waits; the owners come with their questions") {
  const auto gate = std::make_shared<Gate>();
  const auto lookups = start(gate);
  for (std::uint64_t i = 1; i <= 100; ++i) lookups->ask(question(i));
  CHECK(lookups->take().empty());
  gate->open();
  const auto found = take(*lookups, 100);
  REQUIRE(found.size() == 100);
  for (const auto& [asked, owner] : found) {
    CHECK(asked.to.link == 3);
    CHECK(owner.in_time);
    CHECK(owner.descriptor == static_cast<int>(asked.to.question));
  }
  CHECK(lookups->take().empty());
}

TEST_CASE("owner_lookups: those that wait for a search that hangs are not found in time") {
  const auto gate = std::make_shared<Gate>();
  const auto lookups = start(gate);
  lookups->ask(question(7));
  // Once the thread has taken it up.
  std::vector<OwnerLookups::Found> found;
  for (int i = 0; found.empty() && i < 1000; ++i) {
    CHECK(lookups->check(OwnerLookupThread::Clock::now() + OwnerLookupThread::kHangTimeout));
    found = lookups->take();
    std::this_thread::sleep_for(10ms);
  }
  gate->open();
  REQUIRE(found.size() == 1);
  CHECK(found[0].asked.to.question == 7);
  CHECK_FALSE(found[0].owner.in_time);
}

TEST_CASE("owner_lookups: no more wait than there is room for") {
  const auto gate = std::make_shared<Gate>();
  const auto lookups = start(gate);
  for (std::uint64_t i = 0; i < OwnerLookups::kMaxWaiting + 5; ++i) lookups->ask(question(i + 1));
  const auto refused = take(*lookups, 5);
  CHECK(refused.size() == 5);
  for (const auto& one : refused) CHECK_FALSE(one.owner.in_time);
  gate->open();
  CHECK(take(*lookups, OwnerLookups::kMaxWaiting).size() == OwnerLookups::kMaxWaiting);
}
