#include "divert/packet/packet_store.h"

#include <vector>

#include "pfctl/ruleset.h"
#include "tests/test.h"

using divert::PacketStore;

TEST_CASE("held packets: each is given back once, with the way it was on") {
  PacketStore held{10};
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
  PacketStore held{3};
  std::vector<std::uint32_t> ids;
  for (const char* bytes : {"1", "2", "3", "4", "5"}) ids.push_back(held.put({bytes, {}}));
  CHECK(!held.take(ids[0]));
  CHECK(!held.take(ids[1]));
  CHECK(held.take(ids[2])->bytes == "3");
  // One has gone: there is room again.
  const auto sixth = held.put({"6", {}});
  for (const auto id : {ids[3], ids[4], sixth}) CHECK(held.take(id));
}

TEST_CASE("held packets: those that come back with a verdict in a burst go round") {
  using namespace std::chrono_literals;
  const auto packet = [](std::uint8_t tos) {
    return std::string{'\x45', static_cast<char>(tos), '\0'};
  };
  const auto start = std::chrono::steady_clock::now();
  for (const auto verdict : {pfctl::kTosPass, pfctl::kTosDivert}) {
    divert::Returned returned;
    int noticed = 0;
    for (int i = 0; i < 100; ++i)
      noticed += returned.notice(packet(verdict), start + i * 1ms) ? 1 : 0;
    CHECK(noticed > 0);
    CHECK(noticed < 60);
  }
  divert::Returned returned;
  for (int i = 0; i < 1000; ++i) {
    CHECK(!returned.notice(packet(0x10), start));
    CHECK(!returned.notice({}, start));
    // Now and then one, of whatever origin, is no loop.
    CHECK(!returned.notice(packet(pfctl::kTosPass), start + i * 100ms));
  }
}
