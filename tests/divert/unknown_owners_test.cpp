#include "divert/packet/unknown_owners.h"

#include "tests/test.h"

namespace {

using namespace divert;

FlowKey key(std::uint16_t port) {
  return {base::parse_endpoint("192.0.2.1:" + std::to_string(port)).value(),
          base::parse_endpoint("192.0.2.2:443").value()};
}

Ruling unknown(std::string user = {}) {
  Ruling ruling;
  ruling.owner.socket.emplace();
  ruling.owner.socket->user = std::move(user);
  return ruling;
}

}  // namespace

TEST_CASE("unknown_owners: only what passes because its owner is not known is counted") {
  UnknownOwners owners;
  auto known = unknown();
  known.owner.process = std::make_shared<procmap::ProcessFacts>();
  auto chosen = unknown();
  chosen.verdict.action = Action::intercept;
  auto by_rule = unknown();
  by_rule.verdict.rule = 0;
  auto by_host = unknown();
  by_host.verdict.by_host.push_back({0, Action::block});
  auto late = unknown();
  late.owner.in_time = false;
  std::uint16_t port = 1;
  for (const auto& ruling : {known, chosen, by_rule, by_host, late})
    owners.notice(ruling, key(port++));
  CHECK(owners.summary().empty());
}

TEST_CASE(
    "unknown_owners: a first packet that comes again is counted once; the last one is described") {
  UnknownOwners owners;
  owners.notice(unknown("alice"), key(1));
  owners.notice(unknown("alice"), key(1));
  CHECK(owners.summary() ==
        "1 connection passed because no process was found to own it (the filter item unknown "
        "selects such); the last: a socket of user alice to 192.0.2.2:443");
  auto gone = unknown();
  gone.owner.socket.reset();
  owners.notice(gone, key(2));
  CHECK(owners.summary() ==
        "2 connections passed because no process was found to own them (the filter item unknown "
        "selects such); the last: a socket that is gone to 192.0.2.2:443");
}
