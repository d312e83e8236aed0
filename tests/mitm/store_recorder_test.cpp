// Events on a bus become flows of a session.
#include <thread>

#include <fcntl.h>

#include "mitm/store/recorder.h"
#include "mitm/store/session_reader.h"
#include "tests/mitm/flow_description.h"
#include "tests/mitm/store_flows.h"
#include "tests/mitm/store_recording.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace mitm::store {
namespace {

using flow::Direction;
using State = flow::Flow::State;

using test::http_flow;
using test::part;
using test::Recording;

constexpr std::uint64_t kAll = SessionReader::kWholeBody;

}  // namespace

TEST_CASE("recorder: flows get ids in the order in which their rows come") {
  Recording session;
  session.tell(flow::HttpUnderWay{http_flow(500)});
  session.tell(flow::HttpEnd{http_flow(501)});
  session.tell(flow::DnsEnd{std::get<2>(test::full_dns_flow().record)});
  session.tell(flow::HttpEnd{http_flow(500)});
  const auto reader = session.ended();
  const auto first = *reader->flow(1, kAll);
  CHECK(first->state == State::ended);
  CHECK(first->type() == "http");
  CHECK(reader->flow(3, kAll)->value().type() == "dns");
  CHECK(!reader->flow(4, kAll)->has_value());
  flow::Flow expected{.record = http_flow(500)};
  CHECK(differences_but_ids(expected, *first) == "");
}

TEST_CASE("recorder: an id is taken with its row, so that no gap of a session is filled later") {
  Recording session;
  session.tell(part(7, Direction::response, 0, std::string(kChunk, 'a')));
  session.tell(flow::HttpEnd{http_flow(8)});
  session.commit();
  CHECK(session.number("SELECT max(id) FROM flow") == 1);
  session.tell(flow::HttpEnd{http_flow(7)});
  const auto reader = session.ended();
  const auto flow = *reader->flow(2, kAll);
  CHECK(flow->state == State::ended);
  CHECK(flow->http()->response.body.size() == kChunk);
}

TEST_CASE("recorder: messages of a flow whose beginning was lost have one; its end completes it") {
  Recording session;
  const auto tell = [&](const flow::Flow& flow, std::uint64_t id) {
    auto said = std::make_shared<flow::StreamMessage>(*flow.messages.at(0));
    said->flow = id;
    said->host = "one.test";
    said->url = "https://one.test/p?q=1";
    if (said->kind == flow::StreamMessage::Kind::tcp)
      session.tell(flow::TcpMessage{said});
    else
      session.tell(flow::Message{said});
  };
  const auto websocket = test::full_websocket_flow();
  tell(websocket, 7);
  tell(test::full_tcp_flow(), 9);
  session.commit();
  {
    const auto reader = SessionReader::open(session.path);
    const auto live = *(*reader)->flow(1, kAll);
    REQUIRE(live);
    CHECK(live->state == State::live);
    CHECK(live->http()->url == "https://one.test/p?q=1");
    CHECK(live->messages.size() == 1);
    CHECK((*reader)->flow(2, kAll)->value().type() == "tcp");
    CHECK((*reader)->flow(2, kAll)->value().messages.size() == 1);
  }
  session.tell(flow::HttpEnd{http_flow(7)});
  const auto reader = session.ended();
  flow::Flow expected{.record = http_flow(7), .messages = {websocket.messages.at(0)}};
  CHECK(differences_but_ids(expected, **reader->flow(1, kAll)) == "");
}

TEST_CASE("recorder: a request that waits is there at once, as live, and then as it ends") {
  Recording session;
  session.tell(flow::HttpPending{http_flow(7)});
  session.tell(flow::HttpEnd{http_flow(8)});
  session.commit();
  CHECK(session.number("SELECT state FROM flow WHERE id = 1") == 0);
  session.tell(flow::HttpUnderWay{http_flow(7)});
  session.tell(flow::HttpEnd{http_flow(7)});
  const auto reader = session.ended();
  CHECK((*reader->flow(1, kAll))->state == State::ended);
  CHECK(!reader->flow(3, kAll)->has_value());
}

TEST_CASE("recorder: messages belong to their flow, in their order") {
  Recording session;
  const auto flow = test::full_websocket_flow();
  session.tell(flow::HttpUnderWay{http_flow(7)});
  for (const auto& message : flow.messages) session.tell(flow::Message{message});
  session.tell(flow::HttpEnd{http_flow(7)});
  const auto tcp = test::full_tcp_flow();
  auto record = std::make_shared<flow::TcpFlow>(*tcp.tcp());
  record->id = 9;
  auto said = std::make_shared<flow::StreamMessage>(*tcp.messages.at(0));
  said->flow = 9;
  session.tell(flow::TcpBegin{record});
  session.tell(flow::TcpMessage{said});
  session.tell(flow::TcpEnd{record});
  const auto reader = session.ended();
  flow::Flow expected{.record = http_flow(7), .messages = flow.messages};
  CHECK(differences_but_ids(expected, **reader->flow(1, kAll)) == "");
  CHECK(reader->flow(2, kAll)->value().messages.at(0)->what.payload == "220\r\n");
}

TEST_CASE("recorder: a body in parts is whole, and replaces what its flow kept in memory") {
  Recording session;
  std::string body;
  for (std::size_t i = 0; i < 300'000; ++i) body.push_back(static_cast<char>(i * 7 % 251));
  auto record = http_flow(7);
  record->response.body = flow::Body{body}.first(1000);
  record->response.body_bytes = body.size();
  session.tell(flow::HttpUnderWay{record});
  std::uint64_t at = 0;
  for (const std::size_t size : {1000, 1, 150'000, 148'999}) {
    session.tell(part(7, Direction::response, at, std::string_view(body).substr(at, size)));
    at += size;
  }
  session.tell(flow::HttpEnd{record});
  const auto reader = session.ended();
  const auto read = *reader->flow(1, kAll);
  CHECK(read->http()->response.body.text() == body);
  CHECK(!read->http()->response.body.is_cut());
  CHECK(read->http()->request.body.text() == "hello");
}

TEST_CASE("recorder: a body whose last part was lost, or is beyond the limit, is cut") {
  Recording session;
  auto record = http_flow(7);
  record->request.body_bytes = 150;
  session.tell(part(7, Direction::request, 0, std::string(100, 'a')));
  session.tell(flow::HttpEnd{record});
  const auto body = session.ended()->flow(1, kAll)->value().http()->request.body;
  CHECK(body.text() == std::string(100, 'a'));
  CHECK(body.is_cut());
}

TEST_CASE("recorder: a body of which a part was lost is cut there") {
  Recording session;
  auto record = http_flow(7);
  session.tell(part(7, Direction::request, 0, std::string(100, 'a')));
  session.tell(part(7, Direction::request, 200, std::string(100, 'c')));
  session.tell(part(7, Direction::request, 300, std::string(100, 'd')));
  session.tell(flow::HttpEnd{record});
  const auto reader = session.ended();
  const auto body = (*reader->flow(1, kAll))->http()->request.body;
  CHECK(body.text() == std::string(100, 'a'));
  CHECK(body.is_cut());
}

TEST_CASE("recorder: long bodies are in the session while they arrive, and after a kill") {
  Recording session;
  auto record = http_flow(7);
  session.tell(part(7, Direction::response, 0, std::string(200'000, 'a')));
  session.tell(flow::HttpUnderWay{record});
  session.commit();
  auto reader = SessionReader::open(session.path);
  const auto live = *(*reader)->flow(1, kAll);
  CHECK(live->state == State::live);
  CHECK(live->http()->response.body.size() == 3 * kChunk);
  CHECK(live->http()->response.body.is_cut());
  reader->reset();
  const auto after = session.ended();
  CHECK(after->flow(1, kAll)->value().state == State::interrupted);
}

TEST_CASE("recorder: a run that is soon over keeps to its limit, too") {
  Limits limits;
  limits.flows = 3;
  Recording session{limits};
  for (std::uint64_t i = 1; i <= 10; ++i) session.tell(flow::HttpEnd{http_flow(i)});
  const auto reader = session.ended();
  CHECK(session.number("SELECT count(*) FROM flow") == 3);
  CHECK(session.number("SELECT min(id) FROM flow") == 8);
}

TEST_CASE("recorder: commits by itself after a while, and asks to be called for that") {
  Recording session;
  CHECK(!session.recorder->flush_again());
  session.tell(flow::HttpEnd{http_flow(1)});
  CHECK(session.recorder->flush_again());
  REQUIRE(session.recorder->flush());
  CHECK(session.number("SELECT count(*) FROM flow") == 0);
  session.commit();
  CHECK(session.number("SELECT count(*) FROM flow") == 1);
  CHECK(!session.recorder->flush_again());
}

TEST_CASE("recorder: on a bus what was told last is there soon, without another event") {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "s.osp";
  auto writer = SessionWriter::open(path);
  std::vector<std::unique_ptr<flow::Subscriber>> subscribers;
  subscribers.push_back(std::make_unique<Recorder>(std::move(*writer), "--save", base::UniqueFd{},
                                                   Limits{}, Recorder::Reserve{},
                                                   [](const std::string&) {}));
  flow::Bus bus{std::move(subscribers),
                [](void*, const flow::Subscriber&, const base::Error& error) { FAIL(error.text); },
                nullptr};
  bus.start();
  CHECK(bus.wants<flow::BodyPart>());
  bus.publish(flow::HttpEnd{http_flow(1)});
  auto reader = SessionReader::open(path);
  for (int i = 0; i < 3000 && !(*reader)->flow(1, kAll)->has_value(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  CHECK((*reader)->flow(1, kAll)->has_value());
}

TEST_CASE("recorder: when the disk gets full, bodies go first, then flows, and it is said") {
  // No disk has as much free as is reserved here.
  constexpr std::uint64_t kMore = std::uint64_t{1} << 62U;
  {
    Recording session{{}, {.for_flows = kMore, .for_all = 0}};
    session.tell(part(1, Direction::request, 0, std::string(100, 'a')));
    session.tell(flow::HttpEnd{http_flow(1)});
    const auto reader = session.ended();
    const auto flow = *reader->flow(1, kAll);
    CHECK(flow->http()->response.body.size() == 0);
    CHECK(flow->http()->response.body.is_cut());
    CHECK(flow->http()->request.body.size() == 0);
    CHECK(flow->http()->url == "https://one.test/p?q=1");
    REQUIRE(session.said.size() == 1);
    CHECK(session.said[0].find("MiB are free on its disk: bodies are no longer stored; the traffic "
                               "goes on") != std::string::npos);
  }
  Recording session{{}, {.for_flows = kMore, .for_all = kMore}};
  session.tell(flow::HttpEnd{http_flow(1)});
  CHECK(!session.ended()->flow(1, kAll)->has_value());
  REQUIRE(session.said.size() == 2);
  CHECK(session.said[0].find("nothing is stored until there is room again") != std::string::npos);
  CHECK(session.said[1] == "--save: 1 events could not be stored");
}

TEST_CASE("recorder: after a write that failed the run goes on, with less") {
  Recording session;
  session.tell(flow::HttpEnd{http_flow(1)});
  session.commit();
  session.tell(flow::HttpUnderWay{http_flow(2)});
  // A duplicate where there can be none.
  session.tell(part(3, Direction::request, 0, std::string(kChunk, 'a')));
  session.commit();
  {
    auto database = Database::open(session.path, Database::Access::write);
    REQUIRE(database->run("INSERT INTO chunk (id) SELECT max(id) + 1 FROM chunk"));
  }
  session.tell(part(3, Direction::request, kChunk, std::string(kChunk, 'b')));
  REQUIRE(session.said.size() == 1);
  CHECK(session.said[0].find("bodies are no longer stored; the traffic goes on") !=
        std::string::npos);
  session.tell(flow::HttpEnd{http_flow(2)});
  session.tell(flow::HttpEnd{http_flow(3)});
  const auto reader = session.ended();
  CHECK(reader->flow(2, kAll)->value().state == State::ended);
  const auto last = *reader->flow(3, kAll);
  CHECK(last->http()->url == "https://one.test/p?q=1");
  CHECK(last->http()->request.body.is_cut());
}

TEST_CASE("limits: what is read, and how it is written") {
  const auto limits = [](std::string_view text) { return parse_limits(text).value(); };
  CHECK(limits("2G").bytes == 2ULL << 30U);
  CHECK(limits("500M").bytes == 500ULL << 20U);
  CHECK(limits("7d").age == std::chrono::hours{7 * 24});
  CHECK(limits("90s").age == std::chrono::seconds{90});
  CHECK(limits("100000").flows == 100'000);
  for (const char* text : {"2G", "500M", "7d", "90s", "12h", "100000"})
    CHECK(to_string(limits(text)) == text);
  CHECK(to_string(Limits{}) == "");
  for (const char* text : {"", "0", "0d", "-1", "7w", "2GB", "G", "1.5G", "7d "}) {
    CAPTURE(text);
    const auto parsed = parse_limits(text);
    REQUIRE(!parsed);
    CHECK(parsed.error().text == fmt::format("expected a size (500M, 2G), an age (12h, 7d) or a "
                                             "number of flows (100000), found '{}'",
                                             text));
  }
}

TEST_CASE("retention: the oldest flows go, with all that only they refer to; marked ones stay") {
  Recording session{{.flows = 10}};
  for (std::uint64_t id = 1; id <= 50; ++id) {
    auto record = http_flow(id);
    record->request.body = flow::Body{"of its own: " + std::to_string(id)};
    session.tell(flow::HttpEnd{record});
  }
  session.commit();
  {
    auto database = Database::open(session.path, Database::Access::write);
    REQUIRE(
        database->run("UPDATE flow SET mark = ':default:' WHERE id = 3;"
                      "UPDATE flow SET comment = 'why?' WHERE id = 5;"
                      "UPDATE flow SET state = 0 WHERE id = 7"));
  }
  std::this_thread::sleep_for(std::chrono::seconds{1});
  REQUIRE(session.recorder->flush());
  CHECK(session.number("SELECT count(*) FROM flow") == 13);
  CHECK(session.number("SELECT count(*) FROM flow WHERE id IN (3, 5, 7)") == 3);
  CHECK(session.number("SELECT min(id) FROM flow WHERE id > 7") == 41);
  // One that all have, and one of each.
  CHECK(session.number("SELECT count(*) FROM body") == 14);
  CHECK(session.number("SELECT count(*) FROM chunk") == 15);
  const auto reader = session.ended();
  CHECK((*reader->flow(3, kAll))->http()->request.body.text() == "of its own: 3");
  CHECK((*reader->flow(50, kAll))->http()->response.body.size() == 100'004);
}

TEST_CASE("retention: by age, and by size") {
  const test::TemporaryDirectory directory;
  auto writer = SessionWriter::open(directory / "s.osp");
  REQUIRE((*writer)->begin());
  const auto now = std::chrono::system_clock::now();
  for (std::uint64_t id = 1; id <= 100; ++id) {
    auto record = http_flow(id);
    record->began = now - std::chrono::hours{100 - static_cast<int>(id)};
    record->response.body = flow::Body{std::string(20'000, static_cast<char>(id))};
    REQUIRE((*writer)->put(flow::Flow{.record = record}));
  }
  REQUIRE((*writer)->commit());
  Database& database = (*writer)->database();
  const auto count = [&] { return *database.number("SELECT count(*) FROM flow"); };
  const auto apply = [&](Retention& retention) {
    for (;;) {
      const auto more = retention.apply(database, now, 100);
      REQUIRE(more);
      if (!*more) return;
    }
  };
  Retention by_age{{.age = std::chrono::hours{50}}};
  apply(by_age);
  CHECK(count() == 51);
  CHECK(*database.number("SELECT min(id) FROM flow") == 50);
  CHECK(by_age.deleted() == 49);
  Retention by_size{{.bytes = 600'000}};
  apply(by_size);
  CHECK(*count() >= 10);
  CHECK(*count() <= 25);
  CHECK(*database.number("SELECT max(id) FROM flow") == 100);
  Retention none_left{{.bytes = 1}};
  apply(none_left);
  CHECK(count() == 0);
  REQUIRE(sweep(database, 100));
  CHECK(*database.number("SELECT count(*) FROM conn") == 0);
  CHECK(*database.number("SELECT count(*) FROM process") == 0);
  CHECK(*database.number("SELECT count(*) FROM chunk") == 0);
  CHECK(*database.number("SELECT count(*) FROM certificate") == 0);
  // A process and a server that were known go on.
  (*writer)->forget_shared_rows();
  (*writer)->forget_connection(test::full_http_flow().facts().connection->id);
  REQUIRE((*writer)->begin());
  REQUIRE((*writer)->put(test::full_http_flow()));
  REQUIRE((*writer)->commit());
  CHECK(*database.number("SELECT count(*) FROM process") == 1);
  CHECK(*database.number("SELECT count(*) FROM certificate") == 1);
}

}  // namespace mitm::store
