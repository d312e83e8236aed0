// The pump between two streams in memory: who hears what, and how each kind of end is passed on.
#include "mitm/intercept/wire/pump.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <openssl/sslerr.h>

#include "tests/mitm/memory_stream.h"
#include "tests/test.h"

using mitm::flow::Direction;
using mitm::intercept::IoResult;
using mitm::intercept::MemoryAccount;
using mitm::intercept::MemoryBudget;
using mitm::intercept::PeekBuffer;
using mitm::intercept::Pump;
using mitm::intercept::Turn;
using test::MemoryStream;
using Status = IoResult::Status;
using Then = Pump::Then;

namespace {

/// Does with the bytes what the test says; by default passes all of them on.
class Handler final : public Pump::Handler {
 public:
  Pump::Taken on_bytes(Direction direction, std::span<char> bytes, Turn&) override {
    if (act) return act(direction, {bytes.data(), bytes.size()});
    return {bytes.size()};
  }
  [[nodiscard]] std::span<const std::size_t> write_boundaries(Direction) const override {
    return boundaries;
  }
  [[nodiscard]] bool is_on_hold(Direction direction) const override {
    return direction == Direction::request && on_hold;
  }
  Pump::Ending on_end(Direction direction, IoResult, std::string_view unread) override {
    ends += direction == Direction::request ? "request;" : "response;";
    left_at_end = unread;
    return ending;
  }
  void on_failure(Direction, std::string why) override { failure = std::move(why); }

  std::function<Pump::Taken(Direction, std::string_view)> act;
  std::vector<std::size_t> boundaries;
  bool on_hold = false;
  Pump::Ending ending;
  std::string ends, left_at_end, failure;
};

/// A pump that runs, with the test at both ends.
struct Dialogue {
  Dialogue() {
    boost::asio::co_spawn(context, pump.run(), [this](std::exception_ptr thrown) {
      CHECK(thrown == nullptr);
      over = true;
    });
    settle();
  }
  /// Until nothing more happens by itself.
  void settle() {
    context.restart();
    context.poll();
  }

  boost::asio::io_context context;
  MemoryStream client{context.get_executor()}, server{context.get_executor()};
  PeekBuffer from_client{client}, from_server{server};
  std::vector<char> scratch = std::vector<char>(1 << 10);
  std::shared_ptr<MemoryBudget> budget = std::make_shared<MemoryBudget>();
  MemoryAccount memory{budget};
  Handler handler;
  Pump pump{from_client, from_server, scratch, memory, handler};
  bool over = false;
};

}  // namespace

TEST_CASE("pump: bytes pass in both directions, more than fit at once too") {
  Dialogue dialogue;
  const std::string much(10000, 'x');
  dialogue.client.say(much);
  dialogue.server.say("answer");
  dialogue.settle();
  CHECK((dialogue.server.heard() == much));
  CHECK(dialogue.client.heard() == "answer");
  CHECK_FALSE(dialogue.over);
}

TEST_CASE("pump: each direction ends by itself, as it ended") {
  Dialogue dialogue;
  dialogue.client.say("question");
  dialogue.client.end();
  dialogue.settle();
  CHECK(dialogue.server.heard() == "question");
  CHECK(dialogue.server.ending() == "end");
  CHECK(dialogue.client.ending() == "");
  CHECK_FALSE(dialogue.over);
  dialogue.server.say("answer");
  dialogue.server.end(Status::truncated);
  dialogue.settle();
  CHECK(dialogue.client.heard() == "answer");
  CHECK(dialogue.client.ending() == "truncated");
  CHECK(dialogue.over);
  CHECK(dialogue.handler.ends == "request;response;");
  CHECK(dialogue.handler.failure == "");
}

TEST_CASE("pump: a reset is passed on behind what was sent before it") {
  for (const bool program : {true, false}) {
    CAPTURE(program);
    Dialogue dialogue;
    MemoryStream& loses = program ? dialogue.client : dialogue.server;
    MemoryStream& other = program ? dialogue.server : dialogue.client;
    loses.say("last words");
    loses.lose("connection reset by peer");
    dialogue.settle();
    CHECK(other.heard() == "last words");
    CHECK(other.acknowledged());
    CHECK(other.ending() == "reset");
    CHECK(loses.ending() == "reset");
    CHECK(dialogue.over);
    CHECK(dialogue.handler.failure == (program ? "the program: connection reset by peer"
                                               : "the server: connection reset by peer"));
  }
}

TEST_CASE("pump: a receiver that fails gets its own last words through first") {
  Dialogue dialogue;
  dialogue.server.give_room(3);
  dialogue.client.say("upload");
  dialogue.settle();
  CHECK(dialogue.server.heard() == "upl");
  dialogue.server.say("413");
  dialogue.server.lose("connection reset by peer");
  dialogue.settle();
  CHECK(dialogue.client.heard() == "413");
  CHECK(dialogue.client.ending() == "reset");
  CHECK(dialogue.over);
  CHECK(dialogue.handler.failure == "the server: connection reset by peer");
}

TEST_CASE("pump: a receiver without room holds up its own direction only") {
  Dialogue dialogue;
  dialogue.server.give_room(4);
  dialogue.client.say("upload of more");
  dialogue.client.say(std::string(3000, 'x'));
  dialogue.server.say("answer");
  dialogue.settle();
  CHECK(dialogue.server.heard() == "uplo");
  CHECK(dialogue.client.heard() == "answer");
  dialogue.server.give_room(1 << 20);
  dialogue.settle();
  CHECK((dialogue.server.heard() == "ad of more" + std::string(3000, 'x')));
}

TEST_CASE("pump: writes are split where the handler says so") {
  Dialogue dialogue;
  dialogue.handler.boundaries = {2, 5};
  dialogue.client.say("abcdefg");
  dialogue.settle();
  CHECK(dialogue.server.heard() == "abcdefg");
  CHECK(dialogue.server.writes() == std::vector<std::size_t>{2, 3, 2});
}

TEST_CASE("pump: what is not taken is kept until more comes, and shown again with it") {
  Dialogue dialogue;
  std::vector<std::string> shown;
  dialogue.handler.act = [&](Direction, std::string_view bytes) -> Pump::Taken {
    shown.emplace_back(bytes);
    const auto line = bytes.rfind('\n');
    return {line == bytes.npos ? 0 : line + 1};
  };
  dialogue.client.say("one\nha");
  dialogue.settle();
  CHECK(dialogue.server.heard() == "one\n");
  CHECK(dialogue.pump.unread(Direction::request) == "ha");
  dialogue.client.say("lf\n");
  dialogue.settle();
  CHECK(dialogue.server.heard() == "half\n");
  CHECK(shown == std::vector<std::string>{"one\nha", "half\n"});
  dialogue.handler.ending.bytes = 2;
  dialogue.client.say("end");
  dialogue.client.end();
  dialogue.settle();
  CHECK(dialogue.handler.left_at_end == "end");
  CHECK(dialogue.server.heard() == "en");
  CHECK(dialogue.server.ending() == "end");
}

TEST_CASE("pump: a direction on hold reads on, little, until it is looked at again") {
  Dialogue dialogue;
  int shown = 0;
  dialogue.handler.act = [&](Direction, std::string_view bytes) -> Pump::Taken {
    ++shown;
    if (dialogue.handler.on_hold) return {0, Then::hold};
    return {bytes.size()};
  };
  dialogue.handler.on_hold = true;
  dialogue.client.say("a");
  dialogue.settle();
  dialogue.client.say(std::string(5000, 'b'));
  dialogue.settle();
  CHECK(shown == 1);
  CHECK(dialogue.pump.unread(Direction::request).size() == dialogue.scratch.size());
  dialogue.handler.on_hold = false;
  dialogue.pump.look_again(Direction::request);
  dialogue.settle();
  CHECK((dialogue.server.heard() == "a" + std::string(5000, 'b')));
}

TEST_CASE("pump: a program that leaves while it is on hold is noticed") {
  for (const std::size_t more : {std::size_t{0}, std::size_t{5000}}) {
    CAPTURE(more);
    Dialogue dialogue;
    dialogue.handler.act = [&](Direction, std::string_view) -> Pump::Taken {
      return {0, Then::hold};
    };
    dialogue.handler.on_hold = true;
    dialogue.client.say("a" + std::string(more, 'b'));
    dialogue.settle();
    dialogue.client.lose("connection reset by peer");
    // A full buffer reads no more: what is written to the program meets the reset.
    dialogue.pump.look_again(Direction::request);
    dialogue.settle();
    CHECK(dialogue.over);
    CHECK(dialogue.handler.failure == "the program: connection reset by peer");
    CHECK(dialogue.server.ending() == "reset");
  }
}

TEST_CASE(
    "pump: a stop ends nothing on the wire, delivers what was taken and gives back the rest") {
  Dialogue dialogue;
  dialogue.handler.act = [&](Direction direction, std::string_view bytes) -> Pump::Taken {
    if (direction == Direction::response) return {3, Then::stop};
    return {bytes.size()};
  };
  dialogue.server.give_room(2);
  dialogue.client.say("request");
  dialogue.settle();
  dialogue.server.say("101next");
  dialogue.settle();
  CHECK(dialogue.client.heard() == "101");
  CHECK_FALSE(dialogue.over);  // the request is still on its way
  dialogue.server.give_room(100);
  dialogue.settle();
  CHECK(dialogue.over);
  CHECK(dialogue.server.heard() == "request");
  CHECK(dialogue.from_server.take_unread() == "next");
  CHECK(dialogue.client.ending() == "");
  CHECK(dialogue.server.ending() == "");
}

TEST_CASE("pump: the handler's last answer ends the receiver's direction in order") {
  Dialogue dialogue;
  dialogue.handler.act = [](Direction, std::string_view bytes) -> Pump::Taken {
    return {bytes.size(), Then::finish};
  };
  dialogue.server.say("bye");
  dialogue.settle();
  CHECK(dialogue.over);
  CHECK(dialogue.client.heard() == "bye");
  CHECK(dialogue.client.ending() == "end");
}

TEST_CASE("pump: bytes that the handler refuses pass to no side") {
  Dialogue dialogue;
  dialogue.handler.act = [](Direction, std::string_view) -> Pump::Taken {
    return {0, Then::reset};
  };
  dialogue.server.say("nonsense");
  dialogue.settle();
  CHECK(dialogue.over);
  CHECK(dialogue.client.heard() == "");
  CHECK(dialogue.client.ending() == "reset");
  CHECK(dialogue.server.ending() == "reset");
}

TEST_CASE("pump: dropped bytes are not kept, and a direction that is done is not read") {
  Dialogue dialogue;
  dialogue.handler.act = [](Direction, std::string_view bytes) -> Pump::Taken {
    if (bytes.starts_with("d")) return {0, Then::drop};
    return {0, Then::done};
  };
  dialogue.client.say("drop this");
  dialogue.settle();
  CHECK(dialogue.pump.unread(Direction::request) == "");
  dialogue.client.say("last");
  dialogue.settle();
  dialogue.client.end();
  dialogue.settle();
  CHECK(dialogue.server.heard() == "");
  CHECK(dialogue.server.ending() == "");
  CHECK(dialogue.handler.ends == "");
}

TEST_CASE("pump: the alert that answers a truncation is no failure") {
  Dialogue dialogue;
  dialogue.server.end(Status::truncated);
  dialogue.settle();
  dialogue.client.lose("alert decode error", SSL_R_TLSV1_ALERT_DECODE_ERROR);
  dialogue.settle();
  CHECK(dialogue.over);
  CHECK(dialogue.handler.failure == "");
}
