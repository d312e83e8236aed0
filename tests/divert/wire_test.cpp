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
  answer.connection.source = *base::parse_endpoint("10.0.0.2:41000");
  answer.connection.destination = *base::parse_endpoint("[2001:db8::1]:443");
  answer.connection.own = true;
  answer.connection.as_program = true;
  answer.connection.verdict = {
      Action::intercept, "filter curl", {{3, Action::pass}, {4, Action::block}}, 9};
  answer.connection.process = std::make_shared<const procmap::ProcessFacts>(some_process());
  return answer;
}

std::optional<wire::Message> decode(std::string_view bytes) {
  wire::KnownProcesses known{1};
  return wire::decode(bytes, known);
}

/// `bytes` as a message of that kind.
template <class Message>
Message decoded(std::string_view bytes) {
  auto message = decode(bytes);
  REQUIRE(message.has_value());
  REQUIRE(std::holds_alternative<Message>(*message));
  return std::get<Message>(std::move(*message));
}

}  // namespace

TEST_CASE("wire: an answer arrives as it was sent") {
  const auto answer = decoded<wire::Answer>(wire::encode(some_answer()));
  const auto* back = &answer.connection;
  CHECK(answer.id == 7);
  CHECK(answer.upstream == 0);
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
  const auto back = decoded<wire::Answer>(wire::encode(unknown));
  CHECK_FALSE(back.connection.source.has_value());
  CHECK_FALSE(back.connection.destination.has_value());
  CHECK_FALSE(back.connection.process);
}

TEST_CASE("wire: connections of one process share its facts, those of another do not") {
  wire::KnownProcesses known{2};
  const auto process_of = [&](const wire::Answer& answer) {
    auto message = wire::decode(wire::encode(answer), known);
    REQUIRE(message);
    return wire::connection_of(*message).process;
  };
  wire::Answer answer = some_answer();
  const auto first = process_of(answer);
  answer.id = 8;
  answer.connection.verdict.reason = "another";
  CHECK(process_of(answer) == first);
  auto other = some_process();
  other.exe = "/usr/bin/node";
  other.argv = {"npm", "/usr/lib/npm-cli.js", "install"};
  answer.connection.process = std::make_shared<const procmap::ProcessFacts>(other);
  const auto second = process_of(answer);
  CHECK(second != first);
  CHECK(second->argv == other.argv);
  CHECK(second->other_names == std::vector<std::string>{"npm", "/usr/lib/npm-cli.js"});
  CHECK(first->argv == some_process().argv);
}

TEST_CASE("wire: orders and copies arrive as they were sent") {
  for (const bool again : {false, true}) {
    const auto order = decoded<wire::ConnectOrder>(
        wire::encode(wire::ConnectOrder{8, again, some_answer().connection}));
    CHECK(order.token == 8);
    CHECK(order.again == again);
    CHECK(order.connection.verdict.reason == "filter curl");
  }
  CHECK(decoded<wire::ShowOrder>(wire::encode(wire::ShowOrder{some_answer().connection}))
            .connection.verdict.rule == 9);
  CHECK(decoded<wire::QuicNotice>(wire::encode(wire::QuicNotice{some_answer().connection}))
            .connection.own);
  wire::DnsCopy copy{some_answer().connection, true, std::string("a\0b", 3), {}};
  copy.came += std::chrono::nanoseconds{1234567890123};
  const auto back = decoded<wire::DnsCopy>(wire::encode(copy));
  CHECK(back.from_server);
  CHECK(back.payload == copy.payload);
  CHECK(back.came == copy.came);
}

TEST_CASE("wire: a message of an unknown kind is refused") {
  std::string bytes = wire::encode(some_answer());
  bytes[0] = 6;
  CHECK_FALSE(decode(bytes).has_value());
}

TEST_CASE("wire: an answer cut anywhere, or with bytes behind it, is refused") {
  const std::string whole = wire::encode(some_answer());
  for (std::size_t n = 0; n < whole.size(); ++n)
    CHECK_FALSE(decode(whole.substr(0, n)).has_value());
  CHECK_FALSE(decode(whole + "x").has_value());
}

TEST_CASE("wire: a log line arrives with its level; one without a level is refused") {
  for (const auto level : {base::LogLevel::info, base::LogLevel::warning, base::LogLevel::error}) {
    const std::string bytes = wire::encode(wire::LogMessage{level, "some\nthing"});
    REQUIRE(bytes.front() == static_cast<char>(wire::Control::log));
    const auto back = wire::decode_log(std::string_view(bytes).substr(1));
    REQUIRE(back.has_value());
    CHECK(back->level == level);
    CHECK(back->line == "some\nthing");
  }
  const std::string line(2 * wire::kMaxMessage, 'x');
  CHECK(wire::encode(wire::LogMessage{base::LogLevel::info, line}).size() == wire::kMaxMessage);
  CHECK_FALSE(wire::decode_log("").has_value());
  CHECK_FALSE(wire::decode_log("x: a line").has_value());
}

TEST_CASE("wire: a huge argv is cut so that the answer fits one datagram") {
  auto facts = some_process();
  facts.argv.assign(100'000, "argument");
  facts.argv.emplace_back().resize(1 << 20);
  auto answer = some_answer();
  answer.connection.process = std::make_shared<const procmap::ProcessFacts>(facts);
  const std::string bytes = wire::encode(answer);
  CHECK(bytes.size() < wire::kMaxMessage);
  const auto back = decoded<wire::Answer>(bytes);
  CHECK(back.connection.process->argv.size() > 100);
  CHECK(back.connection.process->argv[0] == "argument");
}

TEST_CASE("wire: endpoints of both families; another family is none") {
  for (const char* text : {"192.0.2.1:1", "[::1]:65535"}) {
    CHECK(base::to_string(*wire::unpack(wire::pack(*base::parse_endpoint(text)))) == text);
  }
  wire::PackedEndpoint odd{};
  odd.family = 5;
  CHECK_FALSE(wire::unpack(odd).has_value());
}
