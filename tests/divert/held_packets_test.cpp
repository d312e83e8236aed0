#include "divert/held_packets.h"

#include <vector>

#include "tests/test.h"

using divert::HeldPackets;

TEST_CASE("held packets: each is given back once, with the way it was on") {
  HeldPackets held{10};
  const auto first = held.put({"one", "way"});
  const auto second = held.put({"two", {}});
  CHECK(first != second);
  const auto back = held.take(first);
  REQUIRE(back);
  CHECK(back->bytes == "one");
  CHECK(back->way == "way");
  CHECK(!held.take(first));
  CHECK(held.take(second)->bytes == "two");
  CHECK(!held.take(77));
}

TEST_CASE("held packets: the oldest vanish when there are too many") {
  HeldPackets held{3};
  std::vector<std::uint32_t> ids;
  for (const char* bytes : {"1", "2", "3", "4", "5"}) ids.push_back(held.put({bytes, {}}));
  CHECK(!held.take(ids[0]));
  CHECK(!held.take(ids[1]));
  CHECK(held.take(ids[2])->bytes == "3");
  // One has gone: there is room again.
  const auto sixth = held.put({"6", {}});
  for (const auto id : {ids[3], ids[4], sixth}) CHECK(held.take(id));
}
