#include "procmap/snapshot.h"

#include <vector>

#include "tests/test.h"

namespace procmap {
namespace {

using namespace std::chrono_literals;
using Table = std::vector<int>;

struct World {
  Table now_there;
  int fetches = 0;
  bool fails = false;
  std::chrono::microseconds takes{0};
  std::chrono::steady_clock::time_point time{10s};

  Snapshot<Table> snapshot() {
    return Snapshot<Table>{[this]() -> base::Result<Table> {
                             ++fetches;
                             time += takes;
                             if (fails) return base::failure("no table");
                             return now_there;
                           },
                           [this] { return time; }};
  }
};

auto look_for(int wanted) {
  return [wanted](const Table& table) -> const int* {
    for (const auto& each : table) {
      if (each == wanted) return &each;
    }
    return nullptr;
  };
}

TEST_CASE("snapshot: one table serves all questions of a millisecond") {
  World world{{1, 2, 3}};
  auto snapshot = world.snapshot();
  for (int i = 0; i < 100; ++i) {
    const auto found = snapshot.find(look_for(1 + i % 3));
    REQUIRE(found);
    REQUIRE(*found);
    world.time += 9us;
  }
  CHECK(world.fetches == 1);
  world.time += 100us;
  CHECK(**snapshot.find(look_for(1)) == 1);
  CHECK(world.fetches == 2);
}

TEST_CASE("snapshot: a fetch that takes long still serves those that waited for it") {
  World world{{1}};
  world.takes = 5ms;
  auto snapshot = world.snapshot();
  for (int i = 0; i < 10; ++i) CHECK(*snapshot.find(look_for(1)));
  CHECK(world.fetches == 1);
}

TEST_CASE(
    "snapshot: what is not there is looked for in a table that is not older than the question") {
  World world{{1}};
  auto snapshot = world.snapshot();
  CHECK(*snapshot.find(look_for(1)));
  world.now_there = {1, 2};
  CHECK(*snapshot.find(look_for(2)));
  CHECK(world.fetches == 2);
  world.time += 5ms;
  CHECK(!*snapshot.find(look_for(3)));  // just fetched: not fetched a second time
  CHECK(world.fetches == 3);
}

TEST_CASE("snapshot: a failed fetch is told and not kept") {
  World world{{1}};
  auto snapshot = world.snapshot();
  REQUIRE(snapshot.recent());
  world.fails = true;
  CHECK(!snapshot.find(look_for(2)));  // the kept one has it not, a new one cannot be had
  CHECK(!snapshot.recent());
  CHECK(!snapshot.fresh());
  world.fails = false;
  REQUIRE(snapshot.recent());
  CHECK((*snapshot.recent())->size() == 1);
}

}  // namespace
}  // namespace procmap
