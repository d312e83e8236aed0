// When the gate is asked, and what follows from its answer.
#include <mutex>
#include <string>
#include <vector>

#include "mitm/intercept/gate.h"
#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/test.h"

using dialogue::Engine;
using frames::kPreface;
using mitm::intercept::Interest;
using mitm::sniff::Protocol;
using Type = test::FlatFlow::Type;

namespace {

class TestGate final : public mitm::intercept::Gate {
 public:
  struct Question {
    std::string host;
    Protocol protocol;
    bool in_tls;
    bool operator==(const Question&) const = default;
  };

  explicit TestGate(Interest answer = Interest::none) : answer_(answer) {}
  Interest interest(const mitm::flow::ConnectionRecord& connection, Protocol protocol) override {
    const std::lock_guard lock{mutex_};
    questions_.push_back({connection.host, protocol, connection.tls != nullptr});
    return answer_;
  }
  [[nodiscard]] std::vector<Question> questions() {
    const std::lock_guard lock{mutex_};
    return questions_;
  }

 private:
  const Interest answer_;
  std::mutex mutex_;
  std::vector<Question> questions_;
};
using Questions = std::vector<TestGate::Question>;

}  // namespace

TEST_CASE("gate: asked once per connection, with the host known") {
  TestGate gate;
  Engine engine{rig::trusting(), {}, false, gate};
  SUBCASE("HTTP/1, two requests") {
    auto [program, server] = engine.open();
    for (int i = 0; i < 2; ++i) {
      passes(program, server, rig::kGet);
      passes(server, program, rig::kOk);
    }
    CHECK(engine.ended(2).size() == 2);
    CHECK(gate.questions() == Questions{{"h.test", Protocol::http1, false}});
  }
  SUBCASE("two connections") {
    for (int i = 0; i < 2; ++i) {
      auto [program, server] = engine.open();
      passes(program, server, rig::kGet);
      CHECK(gate.questions().size() == static_cast<std::size_t>(i) + 1);
    }
  }
  SUBCASE("HTTP/1 in TLS") {
    auto [program, server] = engine.open();
    const auto client = rig::ours().client(), origin = rig::theirs().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, rig::kGet);
    CHECK(gate.questions() == Questions{{"h.test", Protocol::http1, true}});
  }
  SUBCASE("HTTP/2") {
    auto [program, server] = engine.open();
    const auto client = rig::ours().client(), origin = rig::theirs().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test", {"h2"}).program);
    passes(program, server, std::string(kPreface));
    CHECK(gate.questions() == Questions{{"h.test", Protocol::http2, true}});
  }
  SUBCASE("in the tunnel of an explicit proxy once more") {
    auto [program, server] = engine.open();
    passes(program, server, "CONNECT far.test:80 HTTP/1.1\r\nHost: far.test:80\r\n\r\n");
    passes(server, program, "HTTP/1.1 200 OK\r\n\r\n");
    passes(program, server, rig::kGet);
    CHECK(gate.questions() ==
          Questions{{"far.test", Protocol::http1, false}, {"h.test", Protocol::http1, false}});
  }
  SUBCASE("not of what is not HTTP") {
    auto [program, server] = engine.open();
    passes(server, program, "220 ready\r\n");
    passes(program, server, "QUIT\r\n");
    CHECK(gate.questions().empty());
  }
}

TEST_CASE("gate: what it wants to change is not passed on") {
  for (const auto interest : {Interest::heads, Interest::messages}) {
    TestGate gate{interest};
    Engine engine{rig::trusting(), {}, false, gate};
    auto [program, server] = engine.open();
    program.say(rig::kGet);
    CHECK(server.hear_all().empty());
    CHECK(program.hear_all().empty());
    CHECK(server.end() == rig::End::reset);
    CHECK(program.end() == rig::End::reset);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::tcp);
    CHECK(flow.host == "h.test");
    CHECK(flow.error ==
          "reset: a rule asks to change messages, which this version of osproxy cannot do");
    CHECK(gate.questions().size() == 1);
  }
}
