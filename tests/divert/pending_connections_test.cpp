// The packet engine's book-keeping, with a clock that only moves when told.
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

struct Book {
  PendingConnections ledger;
  PendingConnections::Time now{};
  Effects effects;
  std::uint32_t next_packet = 1;

  HeldPacket packet() { return {0, next_packet++, 0}; }

  // The token of the lookup that a new packet leads to.
  std::uint64_t arrives(const FlowKey& key, const HeldPacket& held, std::uint32_t sequence = 1,
                        PendingConnections::Reach reach = PendingConnections::Reach::listener) {
    effects.clear();
    ledger.arrive(key, sequence, held, now, effects, reach);
    REQUIRE(effects.size() == 1);
    REQUIRE(std::holds_alternative<LookUp>(effects[0]));
    return std::get<LookUp>(effects[0]).token;
  }
  void settles(const FlowKey& key, std::uint64_t token, Ruling made) {
    effects.clear();
    ledger.settle(key, token, std::move(made), now, effects);
  }
  void connects(const FlowKey& key, std::uint64_t token, int error) {
    effects.clear();
    ledger.connected(key, token, error, now, effects);
  }
  void comes_again(const FlowKey& key, const HeldPacket& held, std::uint32_t sequence = 1) {
    effects.clear();
    ledger.arrive(key, sequence, held, now, effects);
  }
  void wait(std::chrono::milliseconds time) {
    now += time;
    effects.clear();
    ledger.expire(now, effects);
  }
  // The only deed, which lets a packet go.
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

TEST_CASE("ledger: a program that is not selected passes, and nothing is remembered") {
  Book book;
  const auto held = book.packet();
  book.settles(flow(1), book.arrives(flow(1), held),
               ruling(Action::pass, "not selected by the filter curl"));
  book.check_let_go(held, Release::pass);
  CHECK(book.ledger.size() == 0);
}

TEST_CASE("ledger: what a rule lets pass is shown") {
  Book book;
  const auto held = book.packet();
  book.settles(flow(1), book.arrives(flow(1), held), ruling(Action::pass, "rules[0]"));
  REQUIRE(book.effects.size() == 2);
  CHECK(std::get<ReleasePacket>(book.effects[0]).how == Release::pass);
  CHECK(std::get<Show>(book.effects[1]).ruling.verdict.reason == "rules[0]");
}

TEST_CASE("ledger: what is blocked is refused and shown") {
  Book book;
  const auto held = book.packet();
  book.settles(flow(1), book.arrives(flow(1), held), ruling(Action::block, "rules[1]"));
  book.check_refused(held, pfctl::Refusal::reset, 2);
  CHECK(std::holds_alternative<Show>(book.effects[1]));
  CHECK(book.ledger.size() == 0);
}

TEST_CASE(
    "ledger: a selected program is held until "
    "its upstream stands, then diverted and answered once") {
  Book book;
  const auto held = book.packet();
  const auto token = book.arrives(flow(1), held);
  book.settles(flow(1), token, ruling(Action::intercept));
  REQUIRE(book.effects.size() == 1);
  CHECK(std::get<ConnectAhead>(book.effects[0]).token == token);
  book.wait(2900ms);
  CHECK(book.effects.empty());
  book.connects(flow(1), token, 0);
  book.check_let_go(held, Release::divert);
  book.effects.clear();
  CHECK(book.ledger.accepted(flow(1), {1, 77}, book.effects));
  REQUIRE(book.effects.size() == 1);
  const auto& reply = std::get<Reply>(book.effects[0]);
  CHECK(reply.to.link == 1);
  CHECK(reply.to.question == 77);
  CHECK(reply.token == token);
  CHECK(reply.ruling.verdict.action == Action::intercept);
  CHECK_FALSE(book.ledger.accepted(flow(1), {1, 78}, book.effects));
  CHECK(book.ledger.size() == 0);
}

TEST_CASE("ledger: the network's refusals reach the program") {
  const std::pair<int, pfctl::Refusal> cases[] = {
      {ECONNREFUSED, pfctl::Refusal::reset},
      {ENETUNREACH, pfctl::Refusal::no_route},
      {EHOSTUNREACH, pfctl::Refusal::host_unreachable},
      {EHOSTDOWN, pfctl::Refusal::host_unreachable},
      {EACCES, pfctl::Refusal::prohibited},
      {EPERM, pfctl::Refusal::prohibited},
  };
  for (const auto& [error, refusal] : cases) {
    Book book;
    const auto held = book.packet();
    const auto token = book.arrives(flow(1), held);
    book.settles(flow(1), token, ruling(Action::intercept));
    book.connects(flow(1), token, error);
    book.check_refused(held, refusal);
    CHECK(book.ledger.size() == 0);
  }
}

TEST_CASE("ledger: trouble of our own is not the network's: the accept decides") {
  Book book;
  const auto held = book.packet();
  const auto token = book.arrives(flow(1), held);
  book.settles(flow(1), token, ruling(Action::intercept));
  book.connects(flow(1), token, EMFILE);
  book.check_let_go(held, Release::divert);
  book.effects.clear();
  REQUIRE(book.ledger.accepted(flow(1), {}, book.effects));
  CHECK(std::get<Reply>(book.effects.at(0)).token == 0);
}

TEST_CASE("ledger: a black hole stays one; its packets vanish, come again and are held again") {
  Book book;
  const auto first = book.packet(), second = book.packet(), third = book.packet();
  const auto token = book.arrives(flow(1), first);
  book.settles(flow(1), token, ruling(Action::intercept));
  book.comes_again(flow(1), second);  // while the first is held
  book.check_let_go(second, Release::drop);
  book.wait(3000ms);
  book.check_let_go(first, Release::drop);
  book.comes_again(flow(1), third);
  CHECK(book.effects.empty());
  SUBCASE("until the attempt is given up") {
    book.connects(flow(1), token, ETIMEDOUT);
    book.check_let_go(third, Release::drop);
    CHECK(book.ledger.counts().late_upstreams == 2);
  }
  SUBCASE("until somebody answers after all") {
    book.connects(flow(1), token, 0);
    book.check_let_go(third, Release::divert);
    CHECK(book.ledger.counts().late_upstreams == 1);
  }
  CHECK(book.ledger.counts().retransmissions == 1);
}

TEST_CASE(
    "ledger: a program that is more patient than an attempt is attributed once, and gets "
    "another attempt") {
  Book book;
  const auto first = book.packet(), second = book.packet();
  const auto token = book.arrives(flow(1), first);
  book.settles(flow(1), token, ruling(Action::intercept));
  CHECK_FALSE(std::get<ConnectAhead>(book.effects.at(0)).again);
  book.wait(3000ms);
  book.connects(flow(1), token, ETIMEDOUT);
  CHECK(book.effects.empty());
  book.wait(60'000ms);
  book.comes_again(flow(1), second);
  REQUIRE(book.effects.size() == 1);
  const auto ahead = std::get<ConnectAhead>(book.effects[0]);
  CHECK(ahead.again);
  CHECK(ahead.token != token);
  CHECK(ahead.ruling.verdict.reason == "filter curl");
  SUBCASE("which succeeds") {
    book.connects(flow(1), ahead.token, 0);
    book.check_let_go(second, Release::divert);
    book.effects.clear();
    REQUIRE(book.ledger.accepted(flow(1), {}, book.effects));
    CHECK(std::get<Reply>(book.effects.at(0)).token == ahead.token);
  }
  SUBCASE("which fails as well, and is forgotten when the program has given up") {
    book.connects(flow(1), ahead.token, ETIMEDOUT);
    book.check_let_go(second, Release::drop);
    book.wait(PendingConnections::kAttemptTtl);
    CHECK(book.ledger.size() == 0);
  }
  SUBCASE("unless it is another connection") {
    book.comes_again(flow(1), book.packet(), 2);
    CHECK(std::holds_alternative<LookUp>(book.effects.back()));
  }
}

TEST_CASE(
    "ledger: an upstream that stands when nothing is held waits for the packet to come again") {
  Book book;
  const auto first = book.packet(), second = book.packet();
  const auto token = book.arrives(flow(1), first);
  book.settles(flow(1), token, ruling(Action::intercept));
  book.wait(3000ms);
  book.connects(flow(1), token, 0);
  CHECK(book.effects.empty());
  book.comes_again(flow(1), second);
  book.check_let_go(second, Release::divert);
  book.wait(8000ms);
  CHECK(book.ledger.size() == 0);
}

TEST_CASE(
    "ledger: a slow lookup is diverted unseen and decided at the accept, whichever comes first") {
  Book book;
  const auto held = book.packet();
  const auto token = book.arrives(flow(1), held);
  book.wait(49ms);
  CHECK(book.effects.empty());
  book.wait(1ms);
  book.check_let_go(held, Release::divert);
  CHECK(book.ledger.counts().late_lookups == 1);
  SUBCASE("the accept") {
    book.effects.clear();
    CHECK(book.ledger.accepted(flow(1), {3, 4}, book.effects));
    CHECK(book.effects.empty());
    book.wait(60000ms);
    CHECK(book.effects.empty());
    book.settles(flow(1), token, ruling(Action::pass));
    REQUIRE(book.effects.size() == 1);
    CHECK(std::get<Reply>(book.effects[0]).to.question == 4);
  }
  SUBCASE("the lookup") {
    book.settles(flow(1), token, ruling(Action::block, "rules[0]"));
    CHECK(book.effects.empty());
    REQUIRE(book.ledger.accepted(flow(1), {3, 4}, book.effects));
    CHECK(std::get<Reply>(book.effects.at(0)).ruling.verdict.action == Action::block);
  }
  CHECK(book.ledger.size() == 0);
}

TEST_CASE("ledger: another connection from the same port is another connection") {
  Book book;
  const auto first = book.packet(), second = book.packet();
  const auto old_token = book.arrives(flow(1), first, 1);
  book.effects.clear();
  book.ledger.arrive(flow(1), 2, second, book.now, book.effects);
  REQUIRE(book.effects.size() == 2);
  CHECK(std::get<ReleasePacket>(book.effects[0]).how == Release::drop);
  CHECK(std::get<ReleasePacket>(book.effects[0]).packet == first);
  CHECK(book.ledger.counts().abandoned == 1);
  const auto new_token = std::get<LookUp>(book.effects[1]).token;
  book.settles(flow(1), old_token, ruling(Action::intercept));
  CHECK(book.effects.empty());
  book.settles(flow(1), new_token, ruling(Action::pass));
  book.check_let_go(second, Release::pass);
}

TEST_CASE("ledger: a socket that is bound to a device passes") {
  Book book;
  const auto held = book.packet();
  const auto token = book.arrives(flow(1), held);
  auto bound = ruling(Action::intercept);
  bound.owner.socket->interface = 2147483647;  // no such device
  book.settles(flow(1), token, std::move(bound));
  REQUIRE(book.effects.size() == 2);
  CHECK(std::get<ReleasePacket>(book.effects[0]).how == Release::pass);
  const auto& verdict = std::get<Show>(book.effects[1]).ruling.verdict;
  CHECK(verdict.action == Action::pass);
  CHECK(verdict.reason == "its socket is bound to the device 2147483647");
}

TEST_CASE(
    "ledger: a socket that is bound to a device waits "
    "for a slow lookup: the listener is out of its reach") {
  Book book;
  const auto held = book.packet();
  const auto token = book.arrives(flow(1), held, 1, PendingConnections::Reach::none_and_rules);
  book.wait(2900ms);
  CHECK(book.effects.empty());
  auto bound = ruling(Action::pass);
  bound.owner.socket->interface = 3;
  SUBCASE("and passes") {
    book.settles(flow(1), token, std::move(bound));
    book.check_let_go(held, Release::pass);
  }
  SUBCASE("and is refused") {
    bound.verdict = {Action::block, "rules[0]", {}};
    book.settles(flow(1), token, std::move(bound));
    book.check_refused(held, pfctl::Refusal::reset, 2);
  }
  SUBCASE("or comes again") {
    book.wait(100ms);
    book.check_let_go(held, Release::drop);
    CHECK(book.ledger.counts().unowned == 1);
  }
  CHECK(book.ledger.counts().late_lookups == 0);
  CHECK(book.ledger.size() == 0);
}

TEST_CASE(
    "ledger: without rules a socket that is bound to a device passes when its lookup takes long") {
  Book book;
  const auto held = book.packet();
  const auto token = book.arrives(flow(1), held, 1, PendingConnections::Reach::none);
  book.wait(49ms);
  CHECK(book.effects.empty());
  book.wait(1ms);
  book.check_let_go(held, Release::pass);
  CHECK(book.ledger.counts().bound_unseen == 1);
  CHECK(book.ledger.counts().late_lookups == 0);
  CHECK(book.ledger.size() == 0);
  book.settles(flow(1), token, ruling(Action::intercept));
  CHECK(book.effects.empty());
}

TEST_CASE("ledger: who passes because the search took too long is shown") {
  Book book;
  const auto held = book.packet();
  auto late = ruling(Action::pass, "owner not found in time, not selected by the filter curl");
  late.owner.in_time = false;
  book.settles(flow(1), book.arrives(flow(1), held), std::move(late));
  REQUIRE(book.effects.size() == 2);
  CHECK(std::get<ReleasePacket>(book.effects[0]).how == Release::pass);
  CHECK_FALSE(std::get<Show>(book.effects[1]).ruling.owner.in_time);
}

TEST_CASE("ledger: QUIC of an intercepted program is refused, everyone else's passes") {
  Book book;
  const auto held = book.packet(), other = book.packet();
  book.settles(flow(1, true), book.arrives(flow(1, true), held), ruling(Action::intercept));
  book.check_refused(held, pfctl::Refusal::port_unreachable, 2);
  CHECK(std::get<divert::QuicRefused>(book.effects[1]).ruling.verdict.reason == "filter curl");
  book.settles(flow(2, true), book.arrives(flow(2, true), other), ruling(Action::pass));
  book.check_let_go(other, Release::pass);
  CHECK(book.ledger.size() == 0);
}

TEST_CASE(
    "ledger: all datagrams of a flow wait for the "
    "verdict, and none gets by when there is no room") {
  for (const bool selected : {true, false}) {
    Book book;
    std::vector<HeldPacket> packets{book.packet()};
    const auto token = book.arrives(flow(1, true), packets[0]);
    for (std::size_t i = 1; i < PendingConnections::kHeldDatagrams; ++i) {
      packets.push_back(book.packet());
      book.comes_again(flow(1, true), packets.back());
      CHECK(book.effects.empty());
    }
    const auto too_many = book.packet();
    book.comes_again(flow(1, true), too_many);
    book.check_let_go(too_many, Release::drop);
    CHECK(book.ledger.counts().crowded == 1);
    book.settles(flow(1, true), token, ruling(selected ? Action::intercept : Action::pass));
    REQUIRE(book.effects.size() == packets.size() + (selected ? 1 : 0));
    for (std::size_t i = 0; i < packets.size(); ++i) {
      if (selected) {
        CHECK(std::get<Refuse>(book.effects[i]).packet == packets[i]);
      } else {
        CHECK(std::get<ReleasePacket>(book.effects[i]).packet == packets[i]);
        CHECK(std::get<ReleasePacket>(book.effects[i]).how == Release::pass);
      }
    }
  }
}

TEST_CASE("ledger: QUIC whose owner is not found vanishes, counted") {
  Book book;
  book.arrives(flow(1, true), book.packet());
  book.comes_again(flow(1, true), book.packet());
  book.wait(3000ms);
  CHECK(book.effects.size() == 2);
  CHECK(book.ledger.counts().unowned == 2);
  CHECK(book.ledger.size() == 0);
}

TEST_CASE("ledger: QUIC that a rule blocks is shown") {
  Book book;
  const auto held = book.packet();
  book.settles(flow(1, true), book.arrives(flow(1, true), held), ruling(Action::block, "rules[0]"));
  book.check_refused(held, pfctl::Refusal::port_unreachable, 2);
  CHECK(std::get<Show>(book.effects[1]).ruling.verdict.reason == "rules[0]");
}

TEST_CASE("ledger: an attempt whose end nobody tells is forgotten") {
  Book book;
  book.settles(flow(1), book.arrives(flow(1), book.packet()), ruling(Action::intercept));
  book.wait(3000ms);
  CHECK(book.ledger.size() == 1);
  book.wait(PendingConnections::kAttemptTtl);
  CHECK(book.ledger.size() == 0);
}

TEST_CASE("ledger: it never grows beyond its limit, and nobody escapes unseen") {
  Book book;
  Effects effects;
  for (std::size_t i = 0; i < PendingConnections::kMaxEntries; ++i) {
    FlowKey key = flow(static_cast<std::uint16_t>(i));
    key.destination.port(static_cast<std::uint16_t>(i >> 16 | 1));
    book.ledger.arrive(key, 1, book.packet(), book.now, effects);
  }
  CHECK(book.ledger.size() == PendingConnections::kMaxEntries);
  FlowKey one_more = flow(1);
  one_more.destination.port(9);
  const auto held = book.packet();
  book.ledger.arrive(one_more, 1, held, book.now, book.effects);
  book.check_let_go(held, Release::divert);
  CHECK(book.ledger.counts().overflows == 1);
  one_more.udp = true;
  book.comes_again(one_more, held);
  book.check_let_go(held, Release::drop);
  CHECK(book.ledger.counts().crowded == 1);
}

TEST_CASE("ledger: an accepted connection is answered though the run ends or pauses meanwhile") {
  Book book;
  const auto token = book.arrives(flow(1), book.packet());
  book.wait(PendingConnections::kLookupTimeout);
  REQUIRE(book.ledger.accepted(flow(1), {2, 77}, book.effects));
  book.effects.clear();
  book.ledger.release_all(book.effects);
  CHECK(book.effects.empty());
  book.settles(flow(1), token, ruling(Action::intercept));
  REQUIRE(book.effects.size() == 1);
  const auto& reply = std::get<Reply>(book.effects[0]);
  CHECK(reply.to.link == 2);
  CHECK(reply.to.question == 77);
  CHECK(book.ledger.size() == 0);
}

TEST_CASE("ledger: at the end every held packet goes on as it came") {
  Book book;
  const auto held = book.packet(), other = book.packet();
  book.settles(flow(1), book.arrives(flow(1), held), ruling(Action::intercept));
  book.arrives(flow(2), other);
  book.effects.clear();
  book.ledger.release_all(book.effects);
  REQUIRE(book.effects.size() == 2);
  for (const auto& effect : book.effects) {
    const auto& let = std::get<ReleasePacket>(effect);
    CHECK(let.how == (let.packet == held ? Release::drop : Release::pass));
  }
  CHECK(book.ledger.size() == 0);
  CHECK_FALSE(book.ledger.next_due());
}
