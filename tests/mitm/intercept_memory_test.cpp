// What connections hold together is bounded, and what they carry arrives all the same.
#include "mitm/intercept/context/memory.h"
#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/mitm/websocket_frames.h"
#include "tests/test.h"

using dialogue::Engine;
using mitm::intercept::MemoryAccount;
using mitm::intercept::MemoryBudget;
using mitm::intercept::MemoryShare;
using rig::kGet;
using rig::kOk;

namespace {

constexpr std::int64_t kMiB = 1 << 20;

/// All of a budget is held by somebody else.
struct Exhausted {
  std::shared_ptr<MemoryBudget> budget;
  MemoryAccount others;

  explicit Exhausted(std::chrono::milliseconds patience = MemoryBudget::kPatience)
      : budget(std::make_shared<MemoryBudget>(8 * kMiB, patience)), others(budget) {
    others.change(9 * kMiB);
  }
  void release() { others.change(-9 * kMiB); }
  [[nodiscard]] mitm::intercept::Settings settings() const {
    auto settings = rig::trusting();
    settings.memory = budget;
    return settings;
  }
};

}  // namespace

TEST_CASE(
    "memory: accounts report to their budget what is more than small, and all of it at their end") {
  auto budget = std::make_shared<MemoryBudget>(kMiB);
  {
    MemoryAccount account{budget};
    MemoryShare one{account};
    one.set(1000);
    CHECK(budget->used() == 0);
    one.add(MemoryAccount::kSlack);
    CHECK(budget->used() == 1000 + MemoryAccount::kSlack);
    {
      MemoryShare other{account};
      other.set(kMiB);
      CHECK(budget->is_exhausted());
      const MemoryShare moved{std::move(other)};
      CHECK(moved.bytes() == kMiB);
      CHECK(mitm::intercept::readable(account, 128 << 10) == 16 << 10);
      CHECK(mitm::intercept::readable(account, 100) == 100);
    }
    CHECK_FALSE(budget->is_exhausted());
    CHECK(mitm::intercept::readable(account, 128 << 10) == 128 << 10);
    one.take(1000);
  }
  CHECK(budget->used() == 0);
  int told = 0;
  budget->on_first_drop([&] { ++told; });
  budget->count_drop();
  budget->count_drop();
  CHECK(told == 1);
  CHECK(budget->dropped() == 2);
}

TEST_CASE("memory: large requests that are pipelined wait for answers in the kernel, not here") {
  constexpr std::size_t kHeads = 40;
  auto settings = rig::trusting();
  Engine engine{settings};
  auto [program, server] = engine.open();
  const std::string head =
      "GET / HTTP/1.1\r\nHost: h\r\nx: " + std::string(240'000, 'x') + "\r\n\r\n";
  for (std::size_t i = 0; i < kHeads; ++i) program.say(head);
  CHECK(server.hear(head.size()) == head);
  std::size_t heard = 1;
  CHECK(settings.memory->used() < 2 * kMiB);
  CHECK(program.unread() > (kHeads - 10) * head.size());
  for (std::size_t i = 0; i < kHeads; ++i) {
    passes(server, program, kOk);
    if (heard < kHeads) CHECK(server.hear(head.size()) == head);
    ++heard;
  }
  CHECK(engine.ended(kHeads).size() == kHeads);
  CHECK(settings.memory->dropped() == 0);
}

TEST_CASE("memory: without any, exchanges pass one by one, and their bodies are not recorded") {
  const Exhausted all;
  Engine engine{all.settings()};
  auto [program, server] = engine.open();
  const std::string post =
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x');
  program.say(post + post);
  for (int i = 0; i < 2; ++i) {
    CHECK(server.hear(post.size()) == post);
    passes(server, program, kOk);
  }
  for (const auto& flow : engine.ended(2)) {
    CHECK(flow.request_bytes == 100'000);
    CHECK(flow.request_headers.size() == 2);
    CHECK(flow.request_body == "");
    CHECK(flow.request_body_cut);
    CHECK(flow.response_body == "");
    CHECK(flow.response_body_cut);
    CHECK(flow.error == "");
  }
  CHECK(all.budget->dropped() == 4);
}

TEST_CASE("memory: trailers of pipelined requests are counted") {
  constexpr std::size_t kRequests = 20;
  auto settings = rig::trusting();
  Engine engine{settings};
  auto [program, server] = engine.open();
  std::string request = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  for (int i = 0; i < 15'000; ++i) request += "a:\r\n";
  request += "\r\n";
  for (std::size_t i = 0; i < kRequests; ++i) program.say(request);
  constexpr std::size_t kAtOnce = 4;
  for (std::size_t i = 0; i < kAtOnce; ++i) CHECK((server.hear(request.size()) == request));
  CHECK(settings.memory->used() > 3 * kMiB / 4);
  CHECK(settings.memory->used() < 2 * kMiB);
  for (std::size_t i = 0; i < kRequests; ++i) {
    passes(server, program, kOk);
    if (i + kAtOnce < kRequests) CHECK((server.hear(request.size()) == request));
  }
  for (const auto& flow : engine.ended(kRequests)) CHECK(flow.request_trailers.size() == 15'000);
}

TEST_CASE("memory: a header block of HTTP/2 that is yet to end is counted") {
  auto settings = rig::trusting();
  Engine engine{settings};
  auto [program, server] = engine.open();
  const std::string field =
      std::string("\x00\x01x\x7f\x81\x3f", 6) + std::string(127 + 0x81 - 0x80 + (0x3f << 7), 'v');
  std::string block;
  for (int i = 0; i < 20; ++i) block += field;
  passes(program, server,
         std::string(frames::kPreface) + frames::settings() +
             frames::frame(NGHTTP2_HEADERS, 0, 1, block));
  CHECK(settings.memory->used() > 100'000);
}

TEST_CASE("memory: bodies may take a part of it, and everything else goes on as ever") {
  constexpr std::size_t kBody = 16 * kMiB;
  auto settings = rig::trusting();
  settings.body_limit = 100 * kMiB;
  settings.message_limit = 100 * kMiB;
  settings.memory = std::make_shared<MemoryBudget>(8 * kMiB);
  Engine engine{settings};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  passes(server, program,
         "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kBody) + "\r\n\r\n");
  const std::string body(kBody - 1, 'x');
  server.say(body);
  CHECK((program.hear(body.size()) == body));
  CHECK(settings.memory->used() > 2 * kMiB);
  CHECK_FALSE(settings.memory->is_exhausted());
  auto [other, origin] = engine.open();
  frames::Packer up;
  passes(other, origin,
         std::string(frames::kPreface) + frames::settings() +
             up.headers(1, {{":method", "GET"}, {":path", "/"}, {"x", "y"}}, true));
  passes(origin, other, frames::settings() + frames::reset(1, NGHTTP2_CANCEL));
  CHECK(engine.ended(1).at(0).request_headers.find("x") == "y");
  passes(server, program, "x");
  const auto flow = engine.ended(2).at(1);
  CHECK(flow.response_body_cut);
  CHECK(flow.response_body.size() >= 2 * kMiB);
  CHECK(flow.response_bytes == kBody);
  CHECK(settings.memory->dropped() == 1);
}

TEST_CASE("memory: without any, a large head in pieces waits until there is some") {
  Exhausted all;
  Engine engine{all.settings()};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  passes(server, program, kOk);
  const std::string head =
      "GET / HTTP/1.1\r\nHost: h\r\nx: " + std::string(240'000, 'x') + "\r\n\r\n";
  program.say(head);
  CHECK(program.unread() > head.size() - (32 << 10));  // but for the 16 KiB that it may take
  CHECK(server.hears_nothing());
  all.release();
  CHECK((engine.wait_for(server, head.size()) == head));
  passes(server, program, kOk);
  CHECK(engine.ended(2).at(1).error == "");
}

TEST_CASE("memory: without any, a large head in pieces goes on after a while") {
  const Exhausted all{std::chrono::milliseconds{20}};
  Engine engine{all.settings()};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  passes(server, program, kOk);
  const std::string head =
      "GET / HTTP/1.1\r\nHost: h\r\nx: " + std::string(24'000, 'x') + "\r\n\r\n";
  program.say(head);
  CHECK(server.hears_nothing());
  CHECK((engine.wait_for(server, head.size()) == head));
  passes(server, program, kOk);
  CHECK(engine.ended(2).at(1).error == "");
}

TEST_CASE("memory: without any, HTTP/2 passes, without its header fields in the flows") {
  const Exhausted all;
  Engine engine{all.settings()};
  auto [program, server] = engine.open();
  frames::Packer up, down;
  passes(
      program, server,
      std::string(frames::kPreface) + frames::settings() + up.headers(1, frames::get("/a"), true));
  passes(server, program,
         frames::settings() + down.headers(1, {{":status", "200"}, {"x", "y"}}, false) +
             frames::data(1, "body", true));
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.url == rig::with_port("https://h.test/a", flow));
  CHECK(flow.status == 200);
  CHECK(flow.response_headers.empty());
  CHECK(flow.response_bytes == 4);
  CHECK(flow.response_body == "");
  CHECK(flow.response_body_cut);
  CHECK(flow.error ==
        "the memory for all connections was used up: header fields were not recorded");
}

TEST_CASE("memory: without any, messages are shown without what they say, and the flow says why") {
  const Exhausted all;
  Engine engine{all.settings()};
  auto [program, server] = engine.open();
  passes(program, server,
         "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  passes(server, program,
         "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
  websocket::Deflater deflater;
  passes(server, program,
         websocket::says(websocket::kText, "hello") +
             websocket::says(websocket::kText | websocket::kCompressed, deflater.deflate("hello")));
  server.finish();
  program.hear_all();
  program.finish();
  const auto messages = engine.messages(2);
  for (const auto& message : messages) {
    CHECK(message.message->what.payload == "");
    CHECK(message.message->what.cut);
  }
  CHECK(messages[0].message->what.bytes == 5);
  CHECK_FALSE(messages[1].message->what.bytes);
  CHECK(
      engine.ended(1).at(0).error ==
      "the memory for all connections was used up: some messages are shown without what they say");
}

TEST_CASE("memory: without any, what is known of HTTP/2 without its fields is still known") {
  const Exhausted all;
  Engine engine{all.settings()};
  auto [program, server] = engine.open();
  frames::Packer up, down;
  auto request = frames::get("/" + std::string(40'000, 'a'));
  request.emplace_back("content-type", "application/grpc");
  passes(program, server,
         std::string(frames::kPreface) + frames::settings() + up.headers(1, request, false) +
             frames::data(1, std::string("\0\0\0\0\x02hi", 7), true));
  CHECK(engine.messages(1).at(0).type == test::FlatFlow::Type::grpc);
  passes(server, program,
         frames::settings() +
             down.headers(1, {{":status", "200"}, {"content-length", "5"}, {"x", "y"}}, false) +
             frames::data(1, "hello", false));
  passes(program, server, frames::reset(1, NGHTTP2_CANCEL));
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.url.starts_with("https://h.test"));
  CHECK(flow.url.size() == 1024);
  CHECK(flow.error.starts_with("the memory for all connections was used up"));
}

TEST_CASE("memory: where no payload is wanted, none is missed") {
  const Exhausted all;
  auto settings = all.settings();
  settings.body_limit = 0;
  settings.message_limit = 0;
  Engine engine{settings};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  passes(
      server, program,
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: x\n\n");
  CHECK(engine.ended(1).at(0).error == "");
  CHECK(all.budget->dropped() == 0);
}

TEST_CASE(
    "memory: when there is some again, so are the payloads of messages that stand for themselves") {
  for (const bool takeover : {true, false}) {
    CAPTURE(takeover);
    Exhausted all;
    Engine engine{all.settings()};
    auto [program, server] = engine.open();
    passes(program, server,
           "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    passes(server, program,
           fmt::format("HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Extensions: permessage-deflate{}\r\n\r\n",
                       takeover ? "" : "; server_no_context_takeover"));
    websocket::Deflater deflater{takeover};
    const auto packed = [&deflater](std::string_view text) {
      return websocket::says(websocket::kText | websocket::kCompressed, deflater.deflate(text));
    };
    const std::string one = packed("one"), two = packed("two");
    passes(server, program, one);
    CHECK(engine.messages(1).at(0).message->what.payload == "");
    all.release();
    passes(server, program, websocket::says(websocket::kText, "clear") + two);
    const auto messages = engine.messages(3);
    CHECK(messages[1].message->what.payload == "clear");
    CHECK_FALSE(messages[1].message->what.cut);
    CHECK(messages[2].message->what.payload == (takeover ? "" : "two"));
    CHECK(messages[2].message->what.cut == takeover);
    program.close();
    server.close();
  }
}
