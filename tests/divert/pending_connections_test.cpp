// The packet engine's fixture-keeping, with a clock that only moves when told.
#include "divert/packet/pending_connections.h"

#include <cerrno>

#include "tests/test.h"

namespace {

using namespace divert;
using namespace std::chrono_literals;

FlowKey flow(std::uint16_t port, bool udp = false) {
  return {base::parse_endpoint("192.0.2.1:" + std::to_string(port)).value(),
          base::parse_endpoint("198.51.100.7:443").value(), udp};
}

Ruling ruling(Action action, std::string reason = "filter curl") {
  Ruling made;
  made.owner.socket.emplace();
  made.verdict = {action, std::move(reason), {}};
  if (made.verdict.reason.starts_with("rules[")) made.verdict.rule = 0;
  return made;
}

struct Fixture {
  PendingConnections table;
  PendingConnections::Time now{};
  Effects effects;
  std::uint32_t next_packet = 1;

  HeldPacket packet() { return {0, next_packet++, 0}; }

  // The token of the lookup that a new packet leads to.
  std::uint64_t arrives(const FlowKey& key, const HeldPacket& held, std::uint32_t sequence = 1,
                        PendingConnections::Reach reach = PendingConnections::Reach::listener) {
    effects.clear();
    table.arrive(key, sequence, held, now, effects, reach);
    REQUIRE(effects.size() == 1);
    REQUIRE(std::holds_alternative<LookUp>(effects[0]));
    return std::get<LookUp>(effects[0]).token;
  }
  void settles(const FlowKey& key, std::uint64_t token, Ruling made) {
    effects.clear();
    table.settle(key, token, std::move(made), now, effects);
  }
  void connects(const FlowKey& key, std::uint64_t token, int error) {
    effects.clear();
    table.connected(key, token, error, now, effects);
  }
  void comes_again(const FlowKey& key, const HeldPacket& held, std::uint32_t sequence = 1) {
    effects.clear();
    table.arrive(key, sequence, held, now, effects);
  }
  void wait(std::chrono::milliseconds time) {
    now += time;
    effects.clear();
    table.expire(now, effects);
  }
  // The only effect, which lets a packet go.
  void check_let_go(const HeldPacket& held, Release how) {
    REQUIRE(effects.size() == 1);
    const auto* let = std::get_if<ReleasePacket>(&effects[0]);
    REQUIRE(let);
    CHECK(let->packet == held);
    CHECK(let->how == how);
  }
  void check_refused(const HeldPacket& held, pfctl::Refusal how, std::size_t of = 1) {
    REQUIRE(effects.size() == of);
    const auto* refuse = std::get_if<Refuse>(&effects[0]);
    REQUIRE(refuse);
    CHECK(refuse->packet == held);
    CHECK(refuse->how == how);
  }
};

}  // namespace

TEST_CASE("pending_connections: a program that is not selected passes, and nothing is remembered") {
  Fixture fixture;
  const auto held = fixture.packet();
  fixture.settles(flow(1), fixture.arrives(flow(1), held),
                  ruling(Action::pass, "not selected by the filter curl"));
  fixture.check_let_go(held, Release::pass);
  CHECK(fixture.table.size() == 0);
}

TEST_CASE("pending_connections: what a rule lets pass is shown") {
  Fixture fixture;
  const auto held = fixture.packet();
  fixture.settles(flow(1), fixture.arrives(flow(1), held), ruling(Action::pass, "rules[0]"));
  REQUIRE(fixture.effects.size() == 2);
  CHECK(std::get<ReleasePacket>(fixture.effects[0]).how == Release::pass);
  CHECK(std::get<Show>(fixture.effects[1]).ruling.verdict.reason == "rules[0]");
}

TEST_CASE("pending_connections: what is blocked is refused and shown") {
  Fixture fixture;
  const auto held = fixture.packet();
  fixture.settles(flow(1), fixture.arrives(flow(1), held), ruling(Action::block, "rules[1]"));
  fixture.check_refused(held, pfctl::Refusal::reset, 2);
  CHECK(std::holds_alternative<Show>(fixture.effects[1]));
  CHECK(fixture.table.size() == 0);
}

TEST_CASE(
    "pending_connections: a selected program is held until "
    "its upstream stands, then diverted and answered once") {
  Fixture fixture;
  const auto held = fixture.packet();
  const auto token = fixture.arrives(flow(1), held);
  fixture.settles(flow(1), token, ruling(Action::intercept));
  REQUIRE(fixture.effects.size() == 1);
  CHECK(std::get<ConnectAhead>(fixture.effects[0]).token == token);
  fixture.wait(2900ms);
  CHECK(fixture.effects.empty());
  fixture.connects(flow(1), token, 0);
  fixture.check_let_go(held, Release::divert);
  fixture.effects.clear();
  CHECK(fixture.table.accepted(flow(1), {1, 77}, fixture.effects));
  REQUIRE(fixture.effects.size() == 1);
  const auto& reply = std::get<Reply>(fixture.effects[0]);
  CHECK(reply.to.link == 1);
  CHECK(reply.to.question == 77);
  CHECK(reply.token == token);
  CHECK(reply.ruling.verdict.action == Action::intercept);
  CHECK_FALSE(fixture.table.accepted(flow(1), {1, 78}, fixture.effects));
  CHECK(fixture.table.size() == 0);
}

TEST_CASE("pending_connections: the network's refusals reach the program") {
  const std::pair<int, pfctl::Refusal> cases[] = {
      {ECONNREFUSED, pfctl::Refusal::reset},
      {ENETUNREACH, pfctl::Refusal::no_route},
      {EHOSTUNREACH, pfctl::Refusal::host_unreachable},
      {EHOSTDOWN, pfctl::Refusal::host_unreachable},
      {EACCES, pfctl::Refusal::prohibited},
      {EPERM, pfctl::Refusal::prohibited},
  };
  for (const auto& [error, refusal] : cases) {
    Fixture fixture;
    const auto held = fixture.packet();
    const auto token = fixture.arrives(flow(1), held);
    fixture.settles(flow(1), token, ruling(Action::intercept));
    fixture.connects(flow(1), token, error);
    fixture.check_refused(held, refusal);
    CHECK(fixture.table.size() == 0);
  }
}

TEST_CASE("pending_connections: trouble of our own is not the network's: the accept decides") {
  Fixture fixture;
  const auto held = fixture.packet();
  const auto token = fixture.arrives(flow(1), held);
  fixture.settles(flow(1), token, ruling(Action::intercept));
  fixture.connects(flow(1), token, EMFILE);
  fixture.check_let_go(held, Release::divert);
  fixture.effects.clear();
  REQUIRE(fixture.table.accepted(flow(1), {}, fixture.effects));
  CHECK(std::get<Reply>(fixture.effects.at(0)).token == 0);
}

TEST_CASE(
    "pending_connections: a black hole stays one; its packets vanish, come again and are held "
    "again") {
  Fixture fixture;
  const auto first = fixture.packet(), second = fixture.packet(), third = fixture.packet();
  const auto token = fixture.arrives(flow(1), first);
  fixture.settles(flow(1), token, ruling(Action::intercept));
  fixture.comes_again(flow(1), second);  // while the first is held
  fixture.check_let_go(second, Release::drop);
  fixture.wait(3000ms);
  fixture.check_let_go(first, Release::drop);
  fixture.comes_again(flow(1), third);
  CHECK(fixture.effects.empty());
  SUBCASE("until the attempt is given up") {
    fixture.connects(flow(1), token, ETIMEDOUT);
    fixture.check_let_go(third, Release::drop);
    CHECK(fixture.table.counts().late_upstreams == 2);
  }
  SUBCASE("until somebody answers after all") {
    fixture.connects(flow(1), token, 0);
    fixture.check_let_go(third, Release::divert);
    CHECK(fixture.table.counts().late_upstreams == 1);
  }
  CHECK(fixture.table.counts().retransmissions == 1);
}

TEST_CASE(
    "pending_connections: a program that is more patient than an attempt is attributed once, and "
    "gets "
    "another attempt") {
  Fixture fixture;
  const auto first = fixture.packet(), second = fixture.packet();
  const auto token = fixture.arrives(flow(1), first);
  fixture.settles(flow(1), token, ruling(Action::intercept));
  CHECK_FALSE(std::get<ConnectAhead>(fixture.effects.at(0)).again);
  fixture.wait(3000ms);
  fixture.connects(flow(1), token, ETIMEDOUT);
  CHECK(fixture.effects.empty());
  fixture.wait(60'000ms);
  fixture.comes_again(flow(1), second);
  REQUIRE(fixture.effects.size() == 1);
  const auto ahead = std::get<ConnectAhead>(fixture.effects[0]);
  CHECK(ahead.again);
  CHECK(ahead.token != token);
  CHECK(ahead.ruling.verdict.reason == "filter curl");
  SUBCASE("which succeeds") {
    fixture.connects(flow(1), ahead.token, 0);
    fixture.check_let_go(second, Release::divert);
    fixture.effects.clear();
    REQUIRE(fixture.table.accepted(flow(1), {}, fixture.effects));
    CHECK(std::get<Reply>(fixture.effects.at(0)).token == ahead.token);
  }
  SUBCASE("which fails as well, and is forgotten when the program has given up") {
    fixture.connects(flow(1), ahead.token, ETIMEDOUT);
    fixture.check_let_go(second, Release::drop);
    fixture.wait(PendingConnections::kAttemptTtl);
    CHECK(fixture.table.size() == 0);
  }
  SUBCASE("unless it is another connection") {
    fixture.comes_again(flow(1), fixture.packet(), 2);
    CHECK(std::holds_alternative<LookUp>(fixture.effects.back()));
  }
}

TEST_CASE(
    "pending_connections: an upstream that stands when nothing is held waits for the packet to "
    "come again") {
  Fixture fixture;
  const auto first = fixture.packet(), second = fixture.packet();
  const auto token = fixture.arrives(flow(1), first);
  fixture.settles(flow(1), token, ruling(Action::intercept));
  fixture.wait(3000ms);
  fixture.connects(flow(1), token, 0);
  CHECK(fixture.effects.empty());
  fixture.comes_again(flow(1), second);
  fixture.check_let_go(second, Release::divert);
  fixture.wait(8000ms);
  CHECK(fixture.table.size() == 0);
}

TEST_CASE(
    "pending_connections: a slow lookup is diverted unseen and decided at the accept, whichever "
    "comes first") {
  Fixture fixture;
  const auto held = fixture.packet();
  const auto token = fixture.arrives(flow(1), held);
  fixture.wait(49ms);
  CHECK(fixture.effects.empty());
  fixture.wait(1ms);
  fixture.check_let_go(held, Release::divert);
  CHECK(fixture.table.counts().late_lookups == 1);
  SUBCASE("the accept") {
    fixture.effects.clear();
    CHECK(fixture.table.accepted(flow(1), {3, 4}, fixture.effects));
    CHECK(fixture.effects.empty());
    fixture.wait(60000ms);
    CHECK(fixture.effects.empty());
    fixture.settles(flow(1), token, ruling(Action::pass));
    REQUIRE(fixture.effects.size() == 1);
    CHECK(std::get<Reply>(fixture.effects[0]).to.question == 4);
  }
  SUBCASE("the lookup") {
    fixture.settles(flow(1), token, ruling(Action::block, "rules[0]"));
    CHECK(fixture.effects.empty());
    REQUIRE(fixture.table.accepted(flow(1), {3, 4}, fixture.effects));
    CHECK(std::get<Reply>(fixture.effects.at(0)).ruling.verdict.action == Action::block);
  }
  CHECK(fixture.table.size() == 0);
}

TEST_CASE("pending_connections: another connection from the same port is another connection") {
  Fixture fixture;
  const auto first = fixture.packet(), second = fixture.packet();
  const auto old_token = fixture.arrives(flow(1), first, 1);
  fixture.effects.clear();
  fixture.table.arrive(flow(1), 2, second, fixture.now, fixture.effects);
  REQUIRE(fixture.effects.size() == 2);
  CHECK(std::get<ReleasePacket>(fixture.effects[0]).how == Release::drop);
  CHECK(std::get<ReleasePacket>(fixture.effects[0]).packet == first);
  CHECK(fixture.table.counts().abandoned == 1);
  const auto new_token = std::get<LookUp>(fixture.effects[1]).token;
  fixture.settles(flow(1), old_token, ruling(Action::intercept));
  CHECK(fixture.effects.empty());
  fixture.settles(flow(1), new_token, ruling(Action::pass));
  fixture.check_let_go(second, Release::pass);
}

TEST_CASE("pending_connections: a socket that is bound to a device passes") {
  Fixture fixture;
  const auto held = fixture.packet();
  const auto token = fixture.arrives(flow(1), held);
  auto bound = ruling(Action::intercept);
  bound.owner.socket->interface = 2147483647;  // no such device
  fixture.settles(flow(1), token, std::move(bound));
  REQUIRE(fixture.effects.size() == 2);
  CHECK(std::get<ReleasePacket>(fixture.effects[0]).how == Release::pass);
  const auto& verdict = std::get<Show>(fixture.effects[1]).ruling.verdict;
  CHECK(verdict.action == Action::pass);
  CHECK(verdict.reason == "its socket is bound to the device 2147483647");
}

TEST_CASE(
    "pending_connections: a socket that is bound to a device waits "
    "for a slow lookup: the listener is out of its reach") {
  Fixture fixture;
  const auto held = fixture.packet();
  const auto token = fixture.arrives(flow(1), held, 1, PendingConnections::Reach::none_and_rules);
  fixture.wait(2900ms);
  CHECK(fixture.effects.empty());
  auto bound = ruling(Action::pass);
  bound.owner.socket->interface = 3;
  SUBCASE("and passes") {
    fixture.settles(flow(1), token, std::move(bound));
    fixture.check_let_go(held, Release::pass);
  }
  SUBCASE("and is refused") {
    bound.verdict = {Action::block, "rules[0]", {}};
    fixture.settles(flow(1), token, std::move(bound));
    fixture.check_refused(held, pfctl::Refusal::reset, 2);
  }
  SUBCASE("or comes again") {
    fixture.wait(100ms);
    fixture.check_let_go(held, Release::drop);
    CHECK(fixture.table.counts().unowned == 1);
  }
  CHECK(fixture.table.counts().late_lookups == 0);
  CHECK(fixture.table.size() == 0);
}

TEST_CASE(
    "pending_connections: without rules a socket that is bound to a device passes when its lookup "
    "takes long") {
  Fixture fixture;
  const auto held = fixture.packet();
  const auto token = fixture.arrives(flow(1), held, 1, PendingConnections::Reach::none);
  fixture.wait(49ms);
  CHECK(fixture.effects.empty());
  fixture.wait(1ms);
  fixture.check_let_go(held, Release::pass);
  CHECK(fixture.table.counts().bound_unseen == 1);
  CHECK(fixture.table.counts().late_lookups == 0);
  CHECK(fixture.table.size() == 0);
  fixture.settles(flow(1), token, ruling(Action::intercept));
  CHECK(fixture.effects.empty());
}

TEST_CASE("pending_connections: who passes because the search took too long is shown") {
  Fixture fixture;
  const auto held = fixture.packet();
  auto late = ruling(Action::pass, "owner not found in time, not selected by the filter curl");
  late.owner.in_time = false;
  fixture.settles(flow(1), fixture.arrives(flow(1), held), std::move(late));
  REQUIRE(fixture.effects.size() == 2);
  CHECK(std::get<ReleasePacket>(fixture.effects[0]).how == Release::pass);
  CHECK_FALSE(std::get<Show>(fixture.effects[1]).ruling.owner.in_time);
}

TEST_CASE(
    "pending_connections: QUIC of an intercepted program is refused, everyone else's passes") {
  Fixture fixture;
  const auto held = fixture.packet(), other = fixture.packet();
  fixture.settles(flow(1, true), fixture.arrives(flow(1, true), held), ruling(Action::intercept));
  fixture.check_refused(held, pfctl::Refusal::port_unreachable, 2);
  CHECK(std::get<divert::QuicRefused>(fixture.effects[1]).ruling.verdict.reason == "filter curl");
  fixture.settles(flow(2, true), fixture.arrives(flow(2, true), other), ruling(Action::pass));
  fixture.check_let_go(other, Release::pass);
  CHECK(fixture.table.size() == 0);
}

TEST_CASE(
    "pending_connections: all datagrams of a flow wait for the "
    "verdict, and none gets by when there is no room") {
  for (const bool selected : {true, false}) {
    Fixture fixture;
    std::vector<HeldPacket> packets{fixture.packet()};
    const auto token = fixture.arrives(flow(1, true), packets[0]);
    for (std::size_t i = 1; i < PendingConnections::kHeldDatagrams; ++i) {
      packets.push_back(fixture.packet());
      fixture.comes_again(flow(1, true), packets.back());
      CHECK(fixture.effects.empty());
    }
    const auto too_many = fixture.packet();
    fixture.comes_again(flow(1, true), too_many);
    fixture.check_let_go(too_many, Release::drop);
    CHECK(fixture.table.counts().crowded == 1);
    fixture.settles(flow(1, true), token, ruling(selected ? Action::intercept : Action::pass));
    REQUIRE(fixture.effects.size() == packets.size() + (selected ? 1 : 0));
    for (std::size_t i = 0; i < packets.size(); ++i) {
      if (selected) {
        CHECK(std::get<Refuse>(fixture.effects[i]).packet == packets[i]);
      } else {
        CHECK(std::get<ReleasePacket>(fixture.effects[i]).packet == packets[i]);
        CHECK(std::get<ReleasePacket>(fixture.effects[i]).how == Release::pass);
      }
    }
  }
}

TEST_CASE("pending_connections: QUIC whose owner is not found vanishes, counted") {
  Fixture fixture;
  fixture.arrives(flow(1, true), fixture.packet());
  fixture.comes_again(flow(1, true), fixture.packet());
  fixture.wait(3000ms);
  CHECK(fixture.effects.size() == 2);
  CHECK(fixture.table.counts().unowned == 2);
  CHECK(fixture.table.size() == 0);
}

TEST_CASE("pending_connections: QUIC that a rule blocks is shown") {
  Fixture fixture;
  const auto held = fixture.packet();
  fixture.settles(flow(1, true), fixture.arrives(flow(1, true), held),
                  ruling(Action::block, "rules[0]"));
  fixture.check_refused(held, pfctl::Refusal::port_unreachable, 2);
  CHECK(std::get<Show>(fixture.effects[1]).ruling.verdict.reason == "rules[0]");
}

TEST_CASE("pending_connections: an attempt whose end nobody tells is forgotten") {
  Fixture fixture;
  fixture.settles(flow(1), fixture.arrives(flow(1), fixture.packet()), ruling(Action::intercept));
  fixture.wait(3000ms);
  CHECK(fixture.table.size() == 1);
  fixture.wait(PendingConnections::kAttemptTtl);
  CHECK(fixture.table.size() == 0);
}

TEST_CASE("pending_connections: it never grows beyond its limit, and nobody escapes unseen") {
  Fixture fixture;
  Effects effects;
  for (std::size_t i = 0; i < PendingConnections::kMaxEntries; ++i) {
    FlowKey key = flow(static_cast<std::uint16_t>(i));
    key.destination.port(static_cast<std::uint16_t>(i >> 16 | 1));
    fixture.table.arrive(key, 1, fixture.packet(), fixture.now, effects);
  }
  CHECK(fixture.table.size() == PendingConnections::kMaxEntries);
  FlowKey one_more = flow(1);
  one_more.destination.port(9);
  const auto held = fixture.packet();
  fixture.table.arrive(one_more, 1, held, fixture.now, fixture.effects);
  fixture.check_let_go(held, Release::divert);
  CHECK(fixture.table.counts().overflows == 1);
  one_more.udp = true;
  fixture.comes_again(one_more, held);
  fixture.check_let_go(held, Release::drop);
  CHECK(fixture.table.counts().crowded == 1);
}

TEST_CASE(
    "pending_connections: an accepted connection is answered though the run ends or pauses "
    "meanwhile") {
  Fixture fixture;
  const auto token = fixture.arrives(flow(1), fixture.packet());
  fixture.wait(PendingConnections::kLookupTimeout);
  REQUIRE(fixture.table.accepted(flow(1), {2, 77}, fixture.effects));
  fixture.effects.clear();
  fixture.table.release_all(fixture.effects);
  CHECK(fixture.effects.empty());
  fixture.settles(flow(1), token, ruling(Action::intercept));
  REQUIRE(fixture.effects.size() == 1);
  const auto& reply = std::get<Reply>(fixture.effects[0]);
  CHECK(reply.to.link == 2);
  CHECK(reply.to.question == 77);
  CHECK(fixture.table.size() == 0);
}

TEST_CASE("pending_connections: at the end every held packet goes on as it came") {
  Fixture fixture;
  const auto held = fixture.packet(), other = fixture.packet();
  fixture.settles(flow(1), fixture.arrives(flow(1), held), ruling(Action::intercept));
  fixture.arrives(flow(2), other);
  fixture.effects.clear();
  fixture.table.release_all(fixture.effects);
  REQUIRE(fixture.effects.size() == 2);
  for (const auto& effect : fixture.effects) {
    const auto& let = std::get<ReleasePacket>(effect);
    CHECK(let.how == (let.packet == held ? Release::drop : Release::pass));
  }
  CHECK(fixture.table.size() == 0);
  CHECK_FALSE(fixture.table.next_due());
}
