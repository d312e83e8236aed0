// What is told of refused QUIC, and how often.
#include "mitm/intercept/context/quic_refusals.h"

#include "tests/test.h"

using mitm::intercept::QuicRefusals;
using mitm::intercept::Who;

TEST_CASE("quic_refusals: told once for each program, user and host") {
  constexpr Who kBrowser{1000, "/usr/bin/browser"};
  QuicRefusals refusals;
  CHECK(refusals.is_first(kBrowser, "one.test"));
  CHECK_FALSE(refusals.is_first(kBrowser, "one.test"));
  CHECK(refusals.is_first(kBrowser, "two.test"));
  CHECK(refusals.is_first({1000, "/usr/bin/curl"}, "one.test"));
  CHECK(refusals.is_first({1001, "/usr/bin/browser"}, "one.test"));
  CHECK_FALSE(refusals.is_first(kBrowser, "one.test"));
  CHECK_FALSE(refusals.is_first(kBrowser, "two.test"));
}

TEST_CASE("quic_refusals: bounded") {
  QuicRefusals refusals;
  for (std::size_t i = 0; i < QuicRefusals::kMax; ++i)
    CHECK(refusals.is_first({0, "/usr/bin/browser"}, std::to_string(i)));
  CHECK_FALSE(refusals.is_first({0, "/usr/bin/browser"}, std::to_string(QuicRefusals::kMax - 1)));
  CHECK(refusals.is_first({0, "/usr/bin/browser"}, "one more"));
  CHECK(refusals.is_first({0, "/usr/bin/browser"}, "0"));
}
