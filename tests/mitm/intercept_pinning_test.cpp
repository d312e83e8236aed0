// Which refusals make a program's connections to a host pass, and for how long.
#include "mitm/intercept/context/pinning_cache.h"
#include "tests/test.h"

using namespace std::chrono_literals;
using mitm::intercept::in_words;
using mitm::intercept::PinningCache;
using mitm::intercept::Refusal;
using mitm::intercept::Who;

namespace {

constexpr Who kCurl{1000, "/usr/bin/curl"}, kWget{1000, "/usr/bin/wget"};
const PinningCache::Time kStart = PinningCache::Time{} + 12h;

bool passes(const PinningCache& learned, Who who, std::string_view host, PinningCache::Time now) {
  return !learned.reason_to_pass(who, host, now).empty();
}

}  // namespace

TEST_CASE("learned: after three refusals a program passes to that host, for a time") {
  for (const auto how : {Refusal::unknown_ca, Refusal::bad_certificate,
                         Refusal::certificate_unknown, Refusal::closed}) {
    CAPTURE(to_string(how));
    PinningCache learned;
    CHECK(learned.refused(kCurl, "one.test", how, kStart) == "refusal 1 of 3, then it passes");
    CHECK(learned.refused(kCurl, "one.test", how, kStart + 1s) == "refusal 2 of 3, then it passes");
    CHECK_FALSE(passes(learned, kCurl, "one.test", kStart + 2s));
    CHECK(learned.list(kStart + 2s).empty());
    CHECK(learned.refused(kCurl, "one.test", how, kStart + 3s) ==
          "it passes for 10 minutes now (see osproxy learned)");
    CHECK(passes(learned, kCurl, "one.test", kStart + 4s));
    CHECK_FALSE(passes(learned, kWget, "one.test", kStart + 4s));
    CHECK_FALSE(passes(learned, kCurl, "two.test", kStart + 4s));
    CHECK(passes(learned, kCurl, "one.test", kStart + 3s + 10min));
    CHECK_FALSE(passes(learned, kCurl, "one.test", kStart + 4s + 10min));
    CHECK(learned.list(kStart + 4s + 10min).empty());
  }
}

TEST_CASE("learned: each change of the list is reported, when it can be seen") {
  PinningCache learned{{.ttl = 90s, .after = 2}};
  std::vector<std::size_t> listed;
  learned.on_change([&] { listed.push_back(learned.list(kStart).size()); });
  (void)learned.refused(kCurl, "one.test", Refusal::closed, kStart);
  CHECK(listed.empty());
  (void)learned.refused(kCurl, "one.test", Refusal::closed, kStart);
  CHECK(listed == std::vector<std::size_t>{1});
  learned.forget(kCurl, "two.test");
  learned.forget(kCurl, "one.test");
  CHECK(listed == std::vector<std::size_t>{1, 0});
  for (int i = 0; i < 2; ++i) (void)learned.refused(kCurl, "one.test", Refusal::closed, kStart);
  learned.accepted(kCurl, "one.test", kStart);
  CHECK(listed == std::vector<std::size_t>{1, 0, 1, 0});
}

TEST_CASE("learned: the reason names the refusal, its count and the end") {
  PinningCache learned{{.ttl = 90s, .after = 1}};
  CHECK(learned.refused(kCurl, "one.test", Refusal::closed, kStart) ==
        "it passes for 90 seconds now (see osproxy learned)");
  CHECK(learned.reason_to_pass(kCurl, "one.test", kStart) ==
        "learned: refused osproxy's certificate 1 times (closed the connection right after it); "
        "until 12:01:30Z");
  const auto list = learned.list(kStart);
  REQUIRE(list.size() == 1);
  CHECK(list[0].program == kCurl.program);
  CHECK(list[0].uid == 1000);
  CHECK(list[0].host == "one.test");
  CHECK(list[0].failures == 1);
  CHECK(list[0].until == kStart + 90s);
}

TEST_CASE("learned: a time of 0 switches it off") {
  PinningCache learned{{.ttl = 0s, .after = 1}};
  CHECK(learned.refused(kCurl, "one.test", Refusal::closed, kStart) == "");
  CHECK_FALSE(passes(learned, kCurl, "one.test", kStart));
}

TEST_CASE("learned: an unknown CA teaches nothing while no store has ours") {
  PinningCache learned{{.after = 1, .ca_trusted = false}};
  CHECK(learned.refused(kCurl, "one.test", Refusal::unknown_ca, kStart) == "");
  CHECK_FALSE(passes(learned, kCurl, "one.test", kStart));
  CHECK(learned.refused(kCurl, "one.test", Refusal::bad_certificate, kStart) != "");
  CHECK(passes(learned, kCurl, "one.test", kStart));
}

TEST_CASE("learned: what is no refusal, and who cannot be named, teach nothing") {
  PinningCache learned{{.after = 1}};
  CHECK(learned.refused(kCurl, "one.test", Refusal::none, kStart) == "");
  CHECK(learned.refused(Who{}, "one.test", Refusal::closed, kStart) == "");
  CHECK(learned.refused(kCurl, "", Refusal::closed, kStart) == "");
  CHECK(learned.list(kStart).empty());
}

TEST_CASE("learned: an accepted connection and a long pause end the count") {
  PinningCache learned{{.after = 2}};
  learned.refused(kCurl, "one.test", Refusal::unknown_ca, kStart);
  learned.accepted(kCurl, "one.test", kStart);
  CHECK(learned.refused(kCurl, "one.test", Refusal::unknown_ca, kStart) ==
        "refusal 1 of 2, then it passes");
  CHECK(learned.refused(kCurl, "one.test", Refusal::unknown_ca, kStart + 11min) ==
        "refusal 1 of 2, then it passes");
  CHECK(learned.refused(kCurl, "one.test", Refusal::unknown_ca, kStart + 12min) !=
        "refusal 1 of 2, then it passes");
}

TEST_CASE("learned: who has once trusted us is known to do so, for that host") {
  PinningCache learned;
  CHECK_FALSE(learned.trusts(kCurl, "one.test"));
  learned.accepted(kCurl, "one.test", kStart);
  CHECK(learned.trusts(kCurl, "one.test"));
  CHECK_FALSE(learned.trusts(kCurl, "two.test"));
  CHECK_FALSE(learned.trusts(kWget, "one.test"));
  CHECK_FALSE(learned.trusts({0, kCurl.program}, "one.test"));
  learned.accepted(Who{}, "one.test", kStart);
  CHECK_FALSE(learned.trusts(Who{}, "one.test"));
}

TEST_CASE("learned: at most kMax are known to trust us; those seen lately stay") {
  PinningCache learned;
  for (std::size_t i = 0; i < PinningCache::kMax; ++i)
    learned.accepted(kCurl, std::to_string(i), kStart + std::chrono::milliseconds{i});
  learned.accepted(kCurl, "0", kStart + 1h);
  learned.accepted(kCurl, "one.test", kStart + 1h);
  CHECK(learned.trusts(kCurl, "one.test"));
  CHECK(learned.trusts(kCurl, "0"));
  CHECK_FALSE(learned.trusts(kCurl, "1"));
  CHECK(learned.trusts(kCurl, "2"));
}

TEST_CASE("learned: what one user's program refuses says nothing about another user's") {
  constexpr Who kGames{5, kCurl.program}, kRoot{0, kCurl.program};
  PinningCache learned{{.after = 1}};
  learned.refused(kGames, "one.test", Refusal::unknown_ca, kStart);
  CHECK(passes(learned, kGames, "one.test", kStart));
  CHECK_FALSE(passes(learned, kRoot, "one.test", kStart));
  learned.accepted(kRoot, "one.test", kStart);
  CHECK(passes(learned, kGames, "one.test", kStart));
  learned.forget(kRoot, "one.test");
  CHECK(passes(learned, kGames, "one.test", kStart));
}

TEST_CASE("learned: silence without ALPN counts half, and nothing once the program has spoken") {
  PinningCache learned;
  for (int i = 1; i <= 5; ++i) {
    CHECK(learned.refused(kCurl, "one.test", Refusal::looked, kStart) ==
          fmt::format("refusal {} of 6, then it passes", i));
  }
  CHECK_FALSE(passes(learned, kCurl, "one.test", kStart));
  learned.accepted(kCurl, "one.test", kStart);
  for (const auto how : {Refusal::looked, Refusal::closed}) {
    for (int i = 0; i < 9; ++i) CHECK(learned.refused(kCurl, "one.test", how, kStart + 1h) == "");
  }
  CHECK_FALSE(passes(learned, kCurl, "one.test", kStart + 1h));
  // What it says of the certificate counts all the same.
  CHECK(learned.refused(kCurl, "one.test", Refusal::unknown_ca, kStart) ==
        "refusal 1 of 3, then it passes");
}

TEST_CASE("learned: silence and alerts add up") {
  PinningCache learned;
  CHECK(learned.refused(kCurl, "one.test", Refusal::looked, kStart) ==
        "refusal 1 of 6, then it passes");
  CHECK(learned.refused(kCurl, "one.test", Refusal::bad_certificate, kStart) ==
        "refusal 2 of 4, then it passes");
  CHECK(learned.refused(kCurl, "one.test", Refusal::closed, kStart) ==
        "refusal 3 of 4, then it passes");
  CHECK(learned.refused(kCurl, "one.test", Refusal::looked, kStart) ==
        "it passes for 10 minutes now (see osproxy learned)");
  CHECK(passes(learned, kCurl, "one.test", kStart));
}

TEST_CASE(
    "learned: the beginning of passing is reported once, not each refusal of what was under way") {
  PinningCache learned{{.after = 2}};
  std::vector<std::string> told;
  learned.on_pass([&](const PinningCache::Entry& entry) {
    told.push_back(
        fmt::format("{} {} {} {}", entry.uid, entry.program, entry.host, entry.failures));
  });
  for (int i = 0; i < 4; ++i) learned.refused(kCurl, "one.test", Refusal::closed, kStart);
  CHECK(told == std::vector<std::string>{"1000 /usr/bin/curl one.test 2"});
  for (int i = 0; i < 2; ++i) learned.refused(kCurl, "one.test", Refusal::closed, kStart + 1h);
  CHECK(told.size() == 2);
}

TEST_CASE("learned: what is forgotten is intercepted again, and the version tells") {
  PinningCache learned{{.after = 1}};
  const auto before = learned.version();
  learned.refused(kCurl, "one.test", Refusal::closed, kStart);
  learned.refused(kCurl, "two.test", Refusal::closed, kStart);
  const auto known = learned.version();
  CHECK(known != before);
  learned.forget(kCurl, "one.test");
  CHECK(learned.version() != known);
  CHECK_FALSE(passes(learned, kCurl, "one.test", kStart));
  CHECK(passes(learned, kCurl, "two.test", kStart));
  const auto now = learned.version();
  learned.forget(kCurl, "one.test");
  CHECK(learned.version() == now);
}

TEST_CASE("learned: a full table gives up who is only counted, then who ends first") {
  PinningCache learned{{.after = 2}};
  const auto host = [](std::size_t i) { return "h" + std::to_string(i); };
  for (std::size_t i = 0; i < PinningCache::kMax; ++i) {
    const auto when = kStart + std::chrono::milliseconds(i);
    learned.refused(kCurl, host(i), Refusal::closed, when);
    if (i != 5) learned.refused(kCurl, host(i), Refusal::closed, when);
  }
  CHECK(learned.list(kStart).size() == PinningCache::kMax - 1);
  learned.refused(kCurl, "new1", Refusal::closed, kStart + 2s);
  learned.refused(kCurl, "new1", Refusal::closed, kStart + 2s);
  CHECK(passes(learned, kCurl, host(0), kStart + 2s));
  CHECK(learned.list(kStart + 2s).size() == PinningCache::kMax);
  learned.refused(kCurl, "new2", Refusal::closed, kStart + 3s);
  CHECK_FALSE(passes(learned, kCurl, host(0), kStart + 3s));
  CHECK(passes(learned, kCurl, host(1), kStart + 3s));
  // Who has run out goes first of all.
  learned.refused(kCurl, "new3", Refusal::closed, kStart + 1h);
  CHECK(learned.list(kStart + 1h).empty());
}

TEST_CASE("learned: times in words") {
  CHECK(in_words(1s) == "1 second");
  CHECK(in_words(90s) == "90 seconds");
  CHECK(in_words(60s) == "1 minute");
  CHECK(in_words(10min) == "10 minutes");
  CHECK(in_words(24h) == "24 hours");
}
