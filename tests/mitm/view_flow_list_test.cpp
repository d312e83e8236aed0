// Windows hold what a naive evaluation of all flows says, whatever happens to the session.
#include <algorithm>
#include <atomic>
#include <future>
#include <random>
#include <thread>

#include <fmt/format.h>

#include "mitm/store/retention.h"
#include "mitm/store/session_writer.h"
#include "mitm/view/flow_list.h"
#include "tests/mitm/store_recording.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace mitm::view {
namespace {

using namespace std::chrono_literals;
using State = flow::Flow::State;

constexpr auto kLong = 20s;

query::Filter parsed(std::string_view text) {
  auto filter = query::Filter::parse(text);
  REQUIRE_MESSAGE(filter.has_value(), text);
  return *filter;
}

/// A session that is being written.
struct Session {
  Session() {
    auto opened = store::SessionWriter::open(path);
    REQUIRE(opened);
    writer = std::move(*opened);
  }

  /// Few values for each member: many flows are equal in their column.
  std::shared_ptr<flow::HttpFlow> http() {
    const auto below = [this](int limit) {
      return static_cast<int>(random() % static_cast<unsigned>(limit));
    };
    if (!connection || below(4) == 0) {
      auto next = std::make_shared<flow::ConnectionRecord>();
      next->id = ++connections;
      next->host = fmt::format("host{}.test", below(5));
      auto process = std::make_shared<procmap::ProcessFacts>();
      process->id.pid = 100 + below(4);
      process->name = fmt::format("program{}", process->id.pid);
      process->exe = "/bin/" + process->name;
      if (below(5) > 0) next->process = process;
      next->server = {boost::asio::ip::make_address("192.0.2.1"),
                      static_cast<std::uint16_t>(below(2) == 0 ? 443 : 80)};
      connection = next;
    }
    auto it = std::make_shared<flow::HttpFlow>();
    it->connection = connection;
    it->began = flow::Time{1'800'000'000s + std::chrono::seconds(below(50))};
    if (below(5) > 0) it->duration = std::chrono::milliseconds(below(20));
    it->host = connection->host;
    it->url = fmt::format("https://{}/{}", it->host, below(20));
    it->request.method = below(3) == 0 ? "POST" : "GET";
    it->request.fields.add("X-Case", below(2) == 0 ? "one" : "two");
    it->response.status = below(4) == 0 ? 0 : 200 + below(3) * 100;
    it->response.body = flow::Body{below(3) == 0 ? "a needle" : "hay"};
    it->response.body_bytes = it->response.body.size();
    return it;
  }

  /// A flow in the session, whose id this returns.
  Id put(const std::shared_ptr<flow::HttpFlow>& record, State state = State::ended, Id id = 0) {
    store::SessionWriter::Row row{.id = id == 0 ? writer->next_flow() : std::int64_t{id},
                                  .state = state};
    REQUIRE(writer->begin());
    const auto body = writer->bodies().put(record->response.body);
    REQUIRE(body);
    row.response_body = *body;
    REQUIRE(writer->put(*record, row));
    REQUIRE(writer->commit());
    return static_cast<Id>(row.id);
  }

  void put_many(std::size_t flows) {
    REQUIRE(writer->begin());
    for (std::size_t i = 0; i < flows; ++i) REQUIRE(writer->put(flow::Flow{.record = http()}));
    REQUIRE(writer->commit());
  }

  /// They share a body of which each takes some 20 ms to be read and searched.
  void put_heavy(std::size_t flows) {
    const auto record = http();
    record->request.method = "GET";
    REQUIRE(writer->begin());
    const auto body = writer->bodies().put(flow::Body{std::string(16 << 20, 'x')});
    REQUIRE(body);
    for (std::size_t i = 0; i < flows; ++i)
      REQUIRE(writer->put(*record, {.id = writer->next_flow(), .response_body = *body}));
    REQUIRE(writer->commit());
  }

  /// Loads all flows and asks each.
  [[nodiscard]] std::vector<Id> naive(std::string_view text, const Order& order) const {
    const auto filter = parsed(text);
    auto reader = store::SessionReader::open(path);
    REQUIRE(reader);
    std::vector<std::pair<Key, Id>> matching;
    const auto newest = (*reader)->database().number("SELECT max(id) FROM flow");
    for (std::int64_t id = 1; id <= newest->value_or(0); ++id) {
      const auto flow = (*reader)->flow(id, store::SessionReader::kWholeBody);
      REQUIRE(flow);
      if (*flow && filter.matches(**flow))
        matching.emplace_back(key_of(*(*flow)->http(), order.column, id), static_cast<Id>(id));
    }
    std::ranges::stable_sort(matching, [&](const auto& a, const auto& b) {
      return order.descending ? b.first < a.first : a.first < b.first;
    });
    std::vector<Id> ids;
    for (const auto& [key, id] : matching) ids.push_back(id);
    return ids;
  }

  static Key text_or_absent(const std::string& text) { return text.empty() ? Key{} : Key{text}; }

  static Key key_of(const flow::HttpFlow& flow, const std::string& column, std::int64_t id) {
    if (column == "id") return id;
    if (column == "url") return text_or_absent(flow.url);
    if (column == "method") return text_or_absent(flow.request.method);
    if (column == "status")
      return flow.response.status == 0 ? Key{} : Key{std::int64_t{flow.response.status}};
    if (column == "duration") return flow.duration ? Key{flow.duration->count()} : Key{};
    if (column == "time") return std::int64_t{flow.began.time_since_epoch() / 1us};
    REQUIRE(column == "process");
    const auto& process = flow.connection->process;
    return process ? Key{process->name} : Key{};
  }

  [[nodiscard]] std::unique_ptr<FlowList> list(std::string_view filter,
                                               FlowList::Options options = {},
                                               const Order& order = {}) const {
    auto opened = FlowList::open(path, parsed(filter), order, std::move(options));
    REQUIRE(opened);
    return std::move(*opened);
  }

  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  std::unique_ptr<store::SessionWriter> writer;
  std::minstd_rand random{20261130};
  std::shared_ptr<const flow::ConnectionRecord> connection;
  std::uint64_t connections = 0;
};

constexpr std::string_view kFilters[] = {
    "",
    "status == 200",
    "~c 999",
    "~p program101 & port == 443",
    "~b needle",
    "~h one",
    "!(~b needle) & ~m POST",
    "host == host3.test | ~b needle",
};
const Order kOrders[] = {{},
                         {"id", true},
                         {"url", false},
                         {"duration", true},
                         {"status", false},
                         {"process", true},
                         {"time", false},
                         {"method", true}};

void check_all(const FlowList& list, const std::vector<Id>& expected) {
  CHECK(list.ids(0, 1'000'000) == expected);
  CHECK(list.progress().matches == expected.size());
  for (std::size_t at = 0; at < expected.size(); at += 37) {
    CHECK(list.ids(at, 5) ==
          std::vector<Id>(
              expected.begin() + static_cast<std::ptrdiff_t>(at),
              expected.begin() + static_cast<std::ptrdiff_t>(std::min(at + 5, expected.size()))));
    CHECK(list.place_of(expected[at]) == at);
  }
}

}  // namespace

TEST_CASE("flow list: windows hold what a naive evaluation says, for filters and orders") {
  Session session;
  session.put_many(400);
  const auto list = session.list("");
  for (const auto filter : kFilters) {
    list->set_filter(parsed(filter));
    for (const Order& order : kOrders) {
      CAPTURE(filter);
      CAPTURE(order.sql());
      list->set_order(order);
      REQUIRE(list->wait(kLong));
      CHECK(list->progress().sorted);
      check_all(*list, session.naive(filter, order));
    }
  }
}

TEST_CASE("flow list: flows that are added, end or are noted come to their places") {
  for (const Order& order : kOrders) {
    CAPTURE(order.sql());
    Session session;
    session.put_many(100);
    const auto list = session.list("status == 200 | ~b needle", {}, order);
    const auto check = [&] {
      list->refresh();
      REQUIRE(list->wait(kLong));
      check_all(*list, session.naive("status == 200 | ~b needle", order));
    };
    check();
    const auto live = session.http();
    live->duration.reset();
    live->response = {};
    const Id id = session.put(live, State::live);
    check();
    CHECK(!list->place_of(id));
    session.put_many(30);
    check();
    const auto ended = std::make_shared<flow::HttpFlow>(*live);
    ended->duration = 5ms;
    ended->response.status = 200;
    session.put(ended, State::ended, id);
    check();
    CHECK(list->place_of(id).has_value());
    // More than are put to their places one by one.
    session.put_many(2500);
    check();
  }
}

TEST_CASE("flow list: a flow that was heard of before others and ends after them is there") {
  test::Recording session;
  session.tell(test::part(7, flow::Direction::response, 0, "a long body"));
  session.tell(flow::HttpEnd{test::http_flow(8)});
  session.commit();
  const auto list = FlowList::open(session.path, parsed(""), {}, {});
  REQUIRE(list);
  REQUIRE((*list)->wait(kLong));
  CHECK((*list)->ids(0, 10).size() == 1);
  session.tell(flow::HttpEnd{test::http_flow(7)});
  session.commit();
  (*list)->refresh();
  REQUIRE((*list)->wait(kLong));
  CHECK((*list)->ids(0, 10).size() == 2);
}

TEST_CASE("flow list: a mark is seen when the flow is asked again") {
  Session session;
  session.put_many(20);
  const auto list = session.list("~marked");
  REQUIRE(list->wait(kLong));
  CHECK(list->ids(0, 10).empty());
  REQUIRE(session.writer->set_notes(7, {":red_circle:", "", {}}));
  list->ask_again({7, 4'000'000'000});
  REQUIRE(list->wait(kLong));
  CHECK(list->ids(0, 10) == std::vector<Id>{7});
  const auto rows = list->rows(0, 10);
  REQUIRE(rows);
  REQUIRE(rows->size() == 1);
  CHECK(rows->front()->mark == ":red_circle:");
}

TEST_CASE("flow list: what a ring deletes leaves the windows, marked flows stay") {
  for (const Order& order : {Order{}, Order{"id", true}, Order{"url", false}}) {
    CAPTURE(order.sql());
    Session session;
    session.put_many(300);
    REQUIRE(session.writer->set_notes(5, {":red_circle:", "", {}}));
    REQUIRE(session.writer->set_notes(50, {":red_circle:", "", {}}));
    const auto list = session.list("~m GET | ~marked", {}, order);
    REQUIRE(list->wait(kLong));
    for (const std::int64_t last : {1, 20, 100, 298}) {
      CAPTURE(last);
      REQUIRE(session.writer->begin());
      REQUIRE(store::delete_flows(session.writer->database(), 1, last));
      REQUIRE(session.writer->commit());
      session.put_many(10);
      list->refresh();
      REQUIRE(list->wait(kLong));
      check_all(*list, session.naive("~m GET | ~marked", order));
      CHECK(list->place_of(50).has_value());
    }
  }
}

TEST_CASE("flow list: a row that is deleted while it is shown is empty") {
  Session session;
  session.put_many(3);
  const auto list = session.list("");
  REQUIRE(list->wait(kLong));
  REQUIRE(session.writer->database().run("DELETE FROM flow WHERE id = 2"));
  const auto rows = list->rows(0, 10);
  REQUIRE(rows);
  REQUIRE(rows->size() == 3);
  CHECK((*rows)[0]->id == 1);
  CHECK(!(*rows)[1]);
  CHECK((*rows)[2]->host == session.connection->host);
}

TEST_CASE("flow list: all flows are deleted, and others come") {
  Session session;
  const auto list = session.list("", {}, {"url", false});
  REQUIRE(list->wait(kLong));
  CHECK(list->ids(0, 10).empty());
  session.put_many(50);
  list->refresh();
  REQUIRE(list->wait(kLong));
  CHECK(list->ids(0, 100).size() == 50);
  REQUIRE(store::delete_flows(session.writer->database(), 1, 50));
  list->refresh();
  REQUIRE(list->wait(kLong));
  CHECK(list->ids(0, 100).empty());
  session.put_many(5);
  list->refresh();
  REQUIRE(list->wait(kLong));
  check_all(*list, session.naive("", {"url", false}));
}

TEST_CASE("flow list: ids of the newest flows, once these are deleted, are those of others") {
  for (const Order& order : {Order{}, Order{"id", true}, Order{"url", false}}) {
    CAPTURE(order.sql());
    Session session;
    session.put_many(100);
    const auto list = session.list("~m GET", {}, order);
    REQUIRE(list->wait(kLong));
    for (const std::int64_t first : {80, 10, 1}) {
      REQUIRE(store::delete_flows(session.writer->database(), first, 200));
      // As the next run does.
      session.writer.reset();
      session.writer = std::move(*store::SessionWriter::open(session.path));
      list->refresh();
      REQUIRE(list->wait(kLong));
      check_all(*list, session.naive("~m GET", order));
      session.put_many(30);
      list->refresh();
      REQUIRE(list->wait(kLong));
      check_all(*list, session.naive("~m GET", order));
    }
  }
}

TEST_CASE("flow list: a session that is polled is followed by itself") {
  Session session;
  std::atomic<int> told{0};
  const auto list = session.list("~m GET", {.poll = 2ms, .changed = [&] { ++told; }});
  for (int i = 0; i < 10'000 && told == 0; ++i) std::this_thread::sleep_for(1ms);
  const int before = told;
  CHECK(before > 0);
  session.put_many(50);
  const auto expected = session.naive("~m GET", {});
  for (int i = 0; i < 10'000 && list->ids(0, 100) != expected; ++i)
    std::this_thread::sleep_for(1ms);
  CHECK(list->ids(0, 100) == expected);
  for (int i = 0; i < 10'000 && told == before; ++i) std::this_thread::sleep_for(1ms);
  CHECK(told > before);
}

TEST_CASE("flow list: requests that follow each other closely: the last ones count") {
  Session session;
  session.put_many(3000);
  const auto list = session.list("~b nothing");
  for (int i = 0; i < 50; ++i) {
    list->set_filter(parsed(kFilters[static_cast<std::size_t>(i) % std::size(kFilters)]));
    list->set_order(kOrders[static_cast<std::size_t>(i) % std::size(kOrders)]);
    if (i % 7 == 0) std::this_thread::sleep_for(2ms);
  }
  list->set_filter(parsed("status == 200"));
  list->set_order({"duration", false});
  REQUIRE(list->wait(kLong));
  CHECK(!list->progress().error);
  check_all(*list, session.naive("status == 200", {"duration", false}));
}

TEST_CASE("flow list: what is under way ends when another filter is wanted, and with the list") {
  constexpr std::size_t kFirst = 1024;  // are asked at once
  constexpr std::size_t kHeavy = 10'000;
  Session session;
  session.put_many(kFirst);
  session.put_heavy(kHeavy);
  for (const bool is_destroyed : {false, true}) {
    CAPTURE(is_destroyed);
    std::promise<void> asking;
    std::atomic<bool> told{false};
    auto list = session.list("~b nothing", {.changed = [&] {
                               if (!told.exchange(true)) asking.set_value();
                             }});
    // The rest would take minutes.
    REQUIRE(asking.get_future().wait_for(kLong) == std::future_status::ready);
    CHECK(!list->progress().complete);
    if (!is_destroyed) {
      list->set_filter(parsed("~c 999 | ~m GET"));
      REQUIRE(list->wait(kLong));
      CHECK(list->progress().matches > kHeavy);
    }
    const auto before = std::chrono::steady_clock::now();
    list.reset();
    CHECK(std::chrono::steady_clock::now() - before < kLong);
  }
}

TEST_CASE("flow list: what is no session is an error") {
  const auto list = FlowList::open("/dev/null", parsed(""), {}, {});
  CHECK(!list.has_value());
}

TEST_CASE("order: columns are named, and what is none is named with them") {
  CHECK(*parse_order("") == Order{});
  CHECK(*parse_order("-url") == Order{"url", true});
  CHECK(parse_order("size")->sql().ends_with(", flow.id"));
  const auto wrong = parse_order("-weight");
  REQUIRE(!wrong);
  CHECK(wrong.error().text.starts_with("expected content_type, duration"));
  CHECK(wrong.error().text.ends_with("found '-weight'"));
  for (const Column& column : sort_columns()) CHECK(parse_order(column.name).has_value());
}

TEST_CASE("id set: as a sorted list, at both ends and in between") {
  IdSet set;
  std::vector<Id> naive;
  std::minstd_rand random(7);
  for (int i = 0; i < 20'000; ++i) {
    // First in the middle, then below and above it; what comes first goes first.
    const Id id = 4'000'000'000U + random() % 40'000 - (i > 5000 ? 20'000 : 0);
    const auto at = std::ranges::lower_bound(naive, id);
    const bool there = at != naive.end() && *at == id;
    if (i % 3 == 2) {
      CHECK(set.erase(id) == there);
      if (there) naive.erase(at);
    } else {
      CHECK(set.insert(id) == !there);
      if (!there) naive.insert(at, id);
    }
  }
  REQUIRE(set.size() == naive.size());
  CHECK(set.ascending(0, naive.size()) == naive);
  for (std::size_t k = 0; k < naive.size(); k += 101) {
    CHECK(set.rank(naive[k]) == k);
    CHECK(set.contains(naive[k]));
    CHECK(set.ascending(k, 1) == std::vector<Id>{naive[k]});
    CHECK(set.descending(naive.size() - 1 - k, 1) == std::vector<Id>{naive[k]});
  }
  CHECK(set.rank(0) == 0);
  CHECK(set.rank(4'294'967'295U) == naive.size());
  CHECK(set.ascending(naive.size(), 5).empty());
  CHECK(set.descending(naive.size(), 5).empty());
  for (const Id id : naive) CHECK(set.erase(id));
  CHECK(set.size() == 0);
  CHECK(set.insert(1));
  CHECK(set.ascending(0, 9) == std::vector<Id>{1});
}

}  // namespace mitm::view
