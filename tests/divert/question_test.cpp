// What a worker that was taken over could ask the broker about, and what it is not told.
#include "divert/link/question.h"

#include "divert/broker/answers.h"
#include "tests/test.h"

using namespace divert;

namespace {

base::Endpoint end(const char* text) {
  return *base::parse_endpoint(text);
}

const ListeningAt kAt{end("127.0.0.1:1").address(), end("[::1]:1").address(), 28531, 28532};

std::string message(const char* peer, const char* local, std::uint64_t id = 7) {
  const wire::Question question{id, wire::pack(end(peer)), wire::pack(end(local))};
  return {reinterpret_cast<const char*>(&question), sizeof question};
}

}  // namespace

TEST_CASE("question: one about a connection that came to a listener is read whole") {
  const auto v4 = question_in(message("127.0.0.1:40000", "127.0.0.1:28531", 9), kAt);
  REQUIRE(v4);
  CHECK(v4->id == 9);
  CHECK(v4->peer == end("127.0.0.1:40000"));
  CHECK(v4->local == end("127.0.0.1:28531"));
  // Programs have addresses of their own.
  CHECK(question_in(message("192.0.2.1:40000", "127.0.0.1:28531"), kAt));
  CHECK(question_in(message("[2001:db8::1]:40000", "[::1]:28532"), kAt));
}

TEST_CASE("question: other connections are not the worker's business") {
  const std::pair<const char*, const char*> others[] = {
      {"192.0.2.1:40000", "198.51.100.7:443"},    // somebody's to a server
      {"192.0.2.1:40000", "198.51.100.7:28531"},  // to a server whose port is our listeners'
      {"198.51.100.7:28531", "192.0.2.1:40000"},  // the other way round
      {"127.0.0.1:40000", "127.0.0.1:5432"},      // somebody's database
      {"127.0.0.1:40000", "127.0.0.2:28531"},     // another loopback address
      {"127.0.0.1:40000", "127.0.0.1:28532"},     // the port of the other family
      {"[2001:db8::1]:40000", "[2001:db8::2]:28532"},
      {"[::1]:40000", "[::1]:28531"},
      {"[::1]:40000", "127.0.0.1:28531"},  // two families
      {"127.0.0.1:40000", "127.0.0.1:0"},
      {"127.0.0.1:40000", "0.0.0.0:28531"},
  };
  for (const auto& [peer, local] : others) {
    CAPTURE(peer);
    CAPTURE(local);
    CHECK_FALSE(question_in(message(peer, local), kAt));
  }
}

TEST_CASE("question: a family without listeners is not asked about") {
  ListeningAt v4_only = kAt;
  v4_only.v6 = base::Address{};
  v4_only.port_v6 = 0;
  CHECK(question_in(message("127.0.0.1:40000", "127.0.0.1:28531"), v4_only));
  CHECK_FALSE(question_in(message("[::1]:40000", "[::1]:28532"), v4_only));
  CHECK_FALSE(question_in(message("[::1]:40000", "[::]:0"), v4_only));
}

TEST_CASE("question: other sizes and unknown families are none") {
  const std::string whole = message("127.0.0.1:40000", "127.0.0.1:28531");
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK_FALSE(question_in(std::string_view(whole).substr(0, size), kAt));
  CHECK_FALSE(question_in(whole + "x", kAt));
  CHECK_FALSE(question_in(std::string(whole.size(), '\xff'), kAt));
  CHECK_FALSE(question_in(std::string(whole.size(), '\0'), kAt));
}

TEST_CASE("question: who visits a listener by himself was not diverted") {
  const auto asking = question_in(message("127.0.0.1:40000", "127.0.0.1:28531"), kAt);
  REQUIRE(asking);
  CHECK_FALSE(was_diverted({end("127.0.0.1:40000"), end("127.0.0.1:28531")}, *asking));
  CHECK(was_diverted({end("192.0.2.1:40000"), end("198.51.100.7:443")}, *asking));
  CHECK(was_diverted({end("127.0.0.1:40000"), end("127.0.0.1:80")}, *asking));
}

TEST_CASE("answers: the arguments of a program that passes unseen stay with the broker") {
  procmap::ProcessFacts facts;
  facts.id = {4242, 1};
  facts.exe = "/usr/bin/psql";
  facts.argv = {"psql", "password=secret"};
  Ruling ruling;
  ruling.owner.process = std::make_shared<const procmap::ProcessFacts>(facts);
  const FlowKey key{end("192.0.2.1:40000"), end("198.51.100.7:443")};
  const auto arguments_told = [&](Action action, std::string reason) {
    ruling.verdict = {action, std::move(reason), {}};
    const auto told = facts_of(key, ruling, {4242});
    const auto bytes = wire::encode(wire::ShowOrder{facts_of(key, ruling, {4242})});
    REQUIRE(told.process);
    CHECK(told.process->exe == facts.exe);
    CHECK(told.own);
    CHECK((bytes.find("password") != bytes.npos) == (told.process->argv == facts.argv));
    return told.process->argv;
  };
  CHECK(arguments_told(Action::pass, "not selected").empty());
  CHECK(arguments_told(Action::intercept, "filter psql") == facts.argv);
  CHECK(arguments_told(Action::block, "rules[0]") == facts.argv);
}
