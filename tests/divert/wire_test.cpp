#include "divert/link/wire.h"

#include "tests/test.h"

using namespace divert;

namespace {

procmap::ProcessFacts some_process() {
  procmap::ProcessFacts facts;
  facts.id = {4242, 987'654'321};
  facts.ppid = 17;
  facts.uid = 1000;
  facts.gid = 1001;
  facts.name = "curl";
  facts.exe = "/usr/bin/curl";
  facts.argv = {"curl", "-s", "https://example.org/\xff"};
  facts.user = "ann";
  facts.group = "users";
  facts.cgroup = "/user.slice";
  facts.ancestors = {{{17, 5}, "/bin/bash"}, {{1, 1}, "/sbin/init"}};
  facts.start_time =
      std::chrono::system_clock::time_point{std::chrono::microseconds{1'700'000'000'123'456}};
  return facts;
}

wire::Answer some_answer() {
  wire::Answer answer;
  answer.id = 7;
  answer.source = *base::parse_endpoint("10.0.0.2:41000");
  answer.destination = *base::parse_endpoint("[2001:db8::1]:443");
  answer.own = true;
  answer.as_program = true;
  answer.verdict = {Action::intercept, "filter curl", {{3, Action::pass}, {4, Action::block}}, 9};
  answer.process = std::make_shared<const procmap::ProcessFacts>(some_process());
  answer.came += std::chrono::nanoseconds{1234567890123};
  return answer;
}

}  // namespace

TEST_CASE("wire: an answer arrives as it was sent") {
  const auto back = wire::decode_answer(wire::encode(some_answer()));
  REQUIRE(back.has_value());
  CHECK(back->id == 7);
  CHECK(base::to_string(*back->source) == "10.0.0.2:41000");
  CHECK(base::to_string(*back->destination) == "[2001:db8::1]:443");
  CHECK(back->own);
  CHECK(back->as_program);
  CHECK_FALSE(back->socket);
  CHECK(back->verdict.action == Action::intercept);
  CHECK(back->verdict.reason == "filter curl");
  REQUIRE(back->verdict.by_host.size() == 2);
  CHECK(back->verdict.by_host[1].rule == 4);
  CHECK(back->verdict.by_host[1].action == Action::block);
  CHECK(back->verdict.rule == 9);
  CHECK(back->came == some_answer().came);
  const auto expected = some_process();
  REQUIRE(back->process);
  CHECK(back->process->id == expected.id);
  CHECK(back->process->argv == expected.argv);
  CHECK(back->process->exe == expected.exe);
  CHECK(back->process->cgroup == expected.cgroup);
  CHECK(back->process->ancestors.size() == 2);
  CHECK(back->process->ancestors[0].exe == "/bin/bash");
  CHECK(back->process->start_time == expected.start_time);
}

TEST_CASE("wire: unknown connection, unknown process") {
  wire::Answer unknown;
  unknown.id = 9;
  const auto back = wire::decode_answer(wire::encode(unknown));
  REQUIRE(back.has_value());
  CHECK_FALSE(back->source.has_value());
  CHECK_FALSE(back->destination.has_value());
  CHECK_FALSE(back->process);
}

TEST_CASE("wire: an answer cut anywhere, or with bytes behind it, is refused") {
  const std::string whole = wire::encode(some_answer());
  for (std::size_t n = 0; n < whole.size(); ++n)
    CHECK_FALSE(wire::decode_answer(whole.substr(0, n)).has_value());
  CHECK_FALSE(wire::decode_answer(whole + "x").has_value());
}

TEST_CASE("wire: a huge argv is cut so that the answer fits one datagram") {
  auto facts = some_process();
  facts.argv.assign(100'000, "argument");
  facts.argv.emplace_back().resize(1 << 20);
  auto answer = some_answer();
  answer.process = std::make_shared<const procmap::ProcessFacts>(facts);
  const std::string bytes = wire::encode(answer);
  CHECK(bytes.size() < wire::kMaxMessage);
  const auto back = wire::decode_answer(bytes);
  REQUIRE(back.has_value());
  CHECK(back->process->argv.size() > 100);
  CHECK(back->process->argv[0] == "argument");
}

TEST_CASE("wire: endpoints of both families; another family is none") {
  for (const char* text : {"192.0.2.1:1", "[::1]:65535"}) {
    CHECK(base::to_string(*wire::unpack(wire::pack(*base::parse_endpoint(text)))) == text);
  }
  wire::PackedEndpoint odd{};
  odd.family = 5;
  CHECK_FALSE(wire::unpack(odd).has_value());
}
