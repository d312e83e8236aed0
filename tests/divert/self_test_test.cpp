// Real rules in a namespace of the test's own, as `osproxy doctor` tries them.
#include "divert/broker/self_test.h"

#include "tests/pfctl/namespace.h"
#include "tests/test.h"

namespace {

const base::Endpoint kFar{boost::asio::ip::make_address("198.51.100.77"), 28531};

}  // namespace

TEST_CASE("proof: two programs are distinguished, on the loopback and where nobody answers") {
  pfctl_test::Namespace space;
  space.add_uplink();
  for (const auto engine : {divert::EngineChoice::redirect, divert::EngineChoice::packet}) {
    CAPTURE(static_cast<int>(engine));
    CHECK(divert::self_test(engine, std::nullopt));
    CHECK(divert::self_test(engine, kFar));
  }
}

TEST_CASE("proof: without a route nothing is proved, and that is said") {
  pfctl_test::Namespace space;
  const auto proved = divert::self_test(divert::EngineChoice::redirect, kFar);
  REQUIRE(!proved);
  CHECK(proved.error().text.find("there is no route to 198.51.100.77: Network is unreachable") !=
        std::string::npos);
}
