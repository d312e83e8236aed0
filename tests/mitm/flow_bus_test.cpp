#include <csignal>
#include <future>
#include <semaphore>

#include <pthread.h>

#include "mitm/flow/bus.h"
#include "tests/test.h"

namespace mitm::flow {
namespace {

using namespace std::chrono_literals;

/// What the sinks of one test saw. Read after the bus is gone, or through `flushed`.
struct Record {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> flows;  ///< (conn, id)
  std::vector<std::size_t> bodies;                             ///< their sizes
  std::vector<std::string> data;
  std::vector<std::string> lines;
  int flushed_at_line = 0;  ///< flows that had been flushed when the last line came
  std::atomic<int> flushes{0};
  std::atomic<int> written{0};
  std::vector<std::string> errors;
  sigset_t mask = {};  ///< of the thread that wrote last
};

struct Behaviour {
  bool data = false;
  bool log = false;
  int fail_at = -1;  ///< the write of that number fails
  bool fail_flush = false;
  std::counting_semaphore<>* gate = nullptr;  ///< each write takes one
  Delivery delivery = Delivery::lossy;
};

class TestSubscriber final : public Subscriber {
 public:
  TestSubscriber(std::string name, Record& record, Behaviour behaviour)
      : name_(std::move(name)), record_(record), behaviour_(behaviour) {}

  base::Result<> write(const Event& event) override {
    if (const auto* data = std::get_if<TcpData>(&event)) {
      record_.data.push_back(data->data->bytes);
      return {};
    }
    if (const auto* line = std::get_if<LogLine>(&event)) {
      record_.lines.push_back(line->text);
      record_.flushed_at_line = flushed_;
      return {};
    }
    if (behaviour_.gate != nullptr) behaviour_.gate->acquire();
    if (record_.written++ == behaviour_.fail_at) return base::failure("no more");
    const HttpFlow& flow = *std::get<HttpEnd>(event).flow;
    record_.flows.emplace_back(flow.connection->id, flow.id);
    record_.bodies.push_back(flow.response.body.size());
    pthread_sigmask(SIG_SETMASK, nullptr, &record_.mask);
    return {};
  }
  base::Result<> flush() override {
    ++record_.flushes;
    flushed_ = record_.written;
    return behaviour_.fail_flush ? base::Result<>(base::failure("no flush")) : base::Result<>();
  }
  [[nodiscard]] EventSet wants() const override {
    return EventSet::of<HttpEnd>() | (behaviour_.data ? EventSet::of<TcpData>() : EventSet()) |
           (behaviour_.log ? EventSet::of<LogLine>() : EventSet());
  }
  [[nodiscard]] Delivery delivery() const override { return behaviour_.delivery; }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  std::string name_;
  Record& record_;
  Behaviour behaviour_;
  int flushed_ = 0;
};

void note_error(void* context, const Subscriber& sink, const base::Error& error) {
  static_cast<Record*>(context)->errors.push_back(sink.name() + ": " + error.text);
}

std::vector<std::unique_ptr<Subscriber>> one_sink(Record& record, Behaviour behaviour) {
  std::vector<std::unique_ptr<Subscriber>> sinks;
  sinks.push_back(std::make_unique<TestSubscriber>("sink", record, behaviour));
  return sinks;
}

Event flow_of(std::uint64_t conn, std::uint64_t id, std::size_t body = 0) {
  auto connection = std::make_shared<ConnectionRecord>();
  connection->id = conn;
  auto flow = std::make_shared<HttpFlow>();
  flow->connection = std::move(connection);
  flow->id = id;
  flow->response.body = Body(std::string(body, 'x'));
  return HttpEnd{std::move(flow)};
}

Event data_of(std::string bytes) {
  auto data = std::make_shared<Data>();
  data->bytes = std::move(bytes);
  return TcpData{std::move(data)};
}

Event line_of(std::string text) {
  return LogLine{base::LogLevel::warning, std::chrono::system_clock::now(), std::move(text)};
}

template <class Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 5000 && !condition(); ++i) std::this_thread::sleep_for(1ms);
  return condition();
}

}  // namespace

TEST_CASE("bus: a lone flow is written and flushed at once") {
  Record record;
  Bus bus(one_sink(record, {}), note_error, &record);
  bus.start();
  for (int i = 1; i <= 3; ++i) {
    bus.publish(flow_of(1, 1));
    CHECK(soon([&] { return record.flushes == i; }));
  }
  CHECK(record.written == 3);
}

TEST_CASE("bus: each thread's messages arrive in its order, none lost, in few batches") {
  constexpr std::uint64_t kEach = 30'000;
  Record record;
  {
    // Room for all: how fast the machine is today must not decide.
    Bus bus(one_sink(record, {}), note_error, &record, {2 * kEach, std::size_t{1} << 30U});
    bus.start();
    const auto produce = [&](std::uint64_t conn) {
      for (std::uint64_t id = 0; id < kEach; ++id) bus.publish(flow_of(conn, id));
    };
    std::thread other(produce, 1);
    produce(2);
    other.join();
    CHECK(bus.dropped() == 0);
  }
  std::uint64_t next[3] = {0, 0, 0};
  for (const auto& [conn, id] : record.flows) REQUIRE(id == next[conn]++);
  CHECK(next[1] == kEach);
  CHECK(next[2] == kEach);
  CHECK(record.flushes < static_cast<int>(kEach));
}

TEST_CASE("bus: a stuck sink loses messages, counts them and never holds up the publisher") {
  Record record;
  std::counting_semaphore<> gate(0);
  {
    Bus bus(one_sink(record, {.gate = &gate}), note_error, &record,
            {.events = 10, .bytes = 1U << 20U});
    bus.start();
    const auto published = std::async(std::launch::async, [&] {
      for (std::uint64_t id = 0; id < 1000; ++id) bus.publish(flow_of(1, id));
    });
    REQUIRE(published.wait_for(10s) == std::future_status::ready);
    CHECK(bus.dropped() == 990);
    gate.release(10);
    REQUIRE(soon([&] { return record.flushes > 0 && record.written == 10; }));
    gate.release(1);
    REQUIRE(soon([&] {
      bus.publish(flow_of(1, 1000));
      return record.written >= 11 || (std::this_thread::sleep_for(1ms), false);
    }));
    gate.release(100);
  }
  for (std::uint64_t id = 0; id < 10; ++id) CHECK(record.flows[id].second == id);
  CHECK(record.flows[10].second == 1000);
}

TEST_CASE("bus: bytes are bounded too, bodies and data alike") {
  Record record;
  std::counting_semaphore<> gate(0);
  Bus bus(one_sink(record, {.data = true, .gate = &gate}), note_error, &record, {.bytes = 100'000});
  bus.start();
  bus.publish(flow_of(1, 1, 90'000));
  CHECK(bus.dropped() == 0);
  bus.publish(flow_of(1, 2, 20'000));
  CHECK(bus.dropped() == 1);
  bus.publish(data_of(std::string(20'000, 'd')));
  CHECK(bus.dropped() == 2);
  bus.publish(data_of("small"));
  CHECK(bus.dropped() == 2);
  gate.release(10);
}

TEST_CASE("bus: a message larger than the limit passes when it is alone") {
  Record record;
  std::counting_semaphore<> gate(0);
  Bus bus(one_sink(record, {.gate = &gate}), note_error, &record, {.bytes = 1000});
  bus.start();
  bus.publish(flow_of(1, 1, 1'000'000));
  CHECK(bus.dropped() == 0);
  bus.publish(flow_of(1, 2));
  CHECK(bus.dropped() == 1);
  gate.release(10);
}

TEST_CASE("bus: no signal but a fault reaches the sinks' thread, the starter keeps its own mask") {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  Record record;
  {
    Bus bus(one_sink(record, {}), note_error, &record);
    bus.start();
    bus.publish(flow_of(1, 1));
  }
  for (const int blocked : {SIGTTOU, SIGINT, SIGTERM, SIGXFSZ})
    CHECK(sigismember(&record.mask, blocked) == 1);
  CHECK(sigismember(&record.mask, SIGSEGV) == 0);
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int each : {SIGTTOU, SIGINT, SIGTERM})
    CHECK(sigismember(&after, each) == sigismember(&before, each));
}

TEST_CASE("bus: a failing sink is reported once, the others go on") {
  const Behaviour failing[] = {{.data = true, .fail_at = 2}, {.data = true, .fail_flush = true}};
  const char* reports[] = {"bad: no more", "bad: no flush"};
  for (std::size_t i = 0; i < 2; ++i) {
    CAPTURE(i);
    Record bad;
    Record good;
    {
      std::vector<std::unique_ptr<Subscriber>> sinks;
      sinks.push_back(std::make_unique<TestSubscriber>("bad", bad, failing[i]));
      sinks.push_back(std::make_unique<TestSubscriber>("good", good, Behaviour{}));
      Bus bus(std::move(sinks), note_error, &bad);
      CHECK(bus.wants<TcpData>());
      bus.start();
      for (std::uint64_t id = 0; id < 100; ++id) bus.publish(flow_of(1, id));
      REQUIRE(soon([&] { return good.written == 100; }));
      CHECK(soon([&] { return !bus.wants<TcpData>(); }));
      bus.publish(data_of("for nobody"));
    }
    REQUIRE(bad.errors.size() == 1);
    CHECK(bad.errors[0] == reports[i]);
    CHECK(good.flows.size() == 100);
    CHECK(bad.data.empty());
  }
}

TEST_CASE("bus: data goes only to sinks that want it, in order with its flows") {
  Record with;
  Record without;
  {
    std::vector<std::unique_ptr<Subscriber>> sinks;
    sinks.push_back(std::make_unique<TestSubscriber>("with", with, Behaviour{.data = true}));
    sinks.push_back(std::make_unique<TestSubscriber>("without", without, Behaviour{}));
    Bus bus(std::move(sinks), note_error, &with);
    bus.start();
    bus.publish(data_of("a"));
    bus.publish(flow_of(1, 1));
    bus.publish(data_of("b"));
  }
  CHECK(with.data == std::vector<std::string>{"a", "b"});
  CHECK(without.data.empty());
  CHECK(without.flows.size() == 1);
}

TEST_CASE("bus: what is queued is written when it ends, started or not") {
  for (const bool started : {true, false}) {
    CAPTURE(started);
    Record record;
    {
      Bus bus(one_sink(record, {}), note_error, &record);
      for (std::uint64_t id = 0; id < 500; ++id) bus.publish(flow_of(1, id));
      if (started) bus.start();
    }
    CHECK(record.flows.size() == 500);
    CHECK(record.flushes > 0);
  }
}

TEST_CASE("bus: one that nothing was published to leaves its sinks alone") {
  Record record;
  { Bus bus(one_sink(record, {}), note_error, &record); }
  CHECK(record.flushes == 0);
}

TEST_CASE("bus: a retaining subscriber loses bodies before flows, and holds up nobody") {
  Record kept;
  Record shown;
  std::counting_semaphore<> gate(0);
  {
    auto subscribers = one_sink(kept, {.gate = &gate, .delivery = Delivery::retaining});
    subscribers.push_back(std::make_unique<TestSubscriber>("lossy", shown, Behaviour{}));
    Bus bus(std::move(subscribers), note_error, &kept, {.bytes = 100'000});
    bus.start();
    for (std::uint64_t id = 0; id < 20; ++id) {
      bus.publish(flow_of(1, id, 40'000));
      // The other one has a queue of its own, which is empty again.
      REQUIRE(soon([&] { return shown.written == static_cast<int>(id) + 1; }));
    }
    CHECK(bus.dropped() == 0);
    CHECK(bus.stripped() == 18);
    gate.release(20);
  }
  REQUIRE(kept.flows.size() == 20);
  for (std::uint64_t id = 0; id < 20; ++id) {
    CHECK(kept.flows[id].second == id);
    CHECK(kept.bodies[id] == (id < 2 ? 40'000 : 0));
    CHECK(shown.bodies[id] == 40'000);
  }
}

TEST_CASE("bus: even a retaining queue is bounded") {
  Record record;
  std::counting_semaphore<> gate(0);
  Bus bus(one_sink(record, {.gate = &gate, .delivery = Delivery::retaining}), note_error, &record,
          {.bytes = 10'000});
  bus.start();
  for (std::uint64_t id = 0; id < 1000; ++id) bus.publish(flow_of(1, id, 100));
  CHECK(bus.dropped() > 900);
  CHECK(bus.stripped() > 0);
  gate.release(1000);
}

TEST_CASE("bus: log lines always find room") {
  for (const Delivery delivery : {Delivery::lossy, Delivery::retaining}) {
    Record record;
    {
      Bus bus(one_sink(record, {.log = true, .delivery = delivery}), note_error, &record,
              {.events = 2, .bytes = 1000});
      for (std::uint64_t id = 0; id < 10; ++id) bus.publish(flow_of(1, id));
      const std::uint64_t dropped = bus.dropped();
      CHECK(dropped > 0);
      for (int i = 0; i < 100; ++i) bus.publish(line_of(std::string(100, 'l')));
      CHECK(bus.dropped() == dropped);
    }
    CHECK(record.lines.size() == 100);
  }
}

TEST_CASE("bus: what came before a log line is flushed before it is written") {
  Record record;
  {
    Bus bus(one_sink(record, {.log = true}), note_error, &record);
    bus.publish(flow_of(1, 1));
    bus.publish(line_of("after one"));
    bus.publish(flow_of(1, 2));
  }
  CHECK(record.lines == std::vector<std::string>{"after one"});
  CHECK(record.flushed_at_line == 1);
}

TEST_CASE("bus: events that no subscriber wants are not asked for") {
  Record record;
  const Bus bus(one_sink(record, {}), note_error, &record);
  CHECK(bus.wants<HttpEnd>());
  CHECK_FALSE(bus.wants<RequestHead>());
  CHECK_FALSE(bus.wants<TcpData>());
  CHECK_FALSE(bus.wants<LogLine>());
}

TEST_CASE("event: weight grows with every part that is kept") {
  const auto weigh = [](const HttpFlow& flow) {
    return weight(HttpEnd{std::make_shared<const HttpFlow>(flow)});
  };
  HttpFlow flow;
  const std::size_t empty = weigh(flow);
  flow.request.fields.add("name", "value");
  flow.response.fields.add("name", "value");
  flow.url = flow.error = flow.request.target = std::string(1000, 'x');
  flow.request.body = flow.response.body = Body(std::string(1000, 'x'));
  const std::size_t fields = flow.request.fields.memory() - http::Fields{}.memory();
  CHECK(fields > 0);
  CHECK(weigh(flow) == empty + 2 * fields + 5 * 1000);
}

TEST_CASE("event: without bodies, all else is there") {
  auto flow = std::make_shared<HttpFlow>();
  flow->url = "http://h.test/";
  flow->response.status = 200;
  flow->request.body = Body("question");
  const Event event = HttpEnd{flow};
  const Event bare = without_bodies(event);
  const HttpFlow& left = *std::get<HttpEnd>(bare).flow;
  CHECK(left.url == flow->url);
  CHECK(left.response.status == 200);
  CHECK(left.request.body.empty());
  CHECK(left.request.body.is_cut());
  CHECK_FALSE(left.response.body.is_cut());
  CHECK(flow->request.body.text() == "question");
  auto message = std::make_shared<StreamMessage>();
  message->what.payload = "hello";
  const Event spoken = without_bodies(Message{message});
  CHECK(std::get<Message>(spoken).message->what.payload.empty());
  CHECK(std::get<Message>(spoken).message->what.cut);
}

}  // namespace mitm::flow
