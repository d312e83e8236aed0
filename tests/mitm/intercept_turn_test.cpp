// One connection whose bytes cost far more than they are: the others of its io_context get their
// turns all the same. What is measured is the processor time between two points at which a handler
// that is always ready would be run, which a busy machine does not change.
#include <ctime>
#include <functional>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include "divert/link/context_heartbeat.h"
#include "mitm/intercept/wire/turn.h"
#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/mitm/websocket_frames.h"
#include "tests/test.h"

using dialogue::Engine;
using dialogue::Peer;
using mitm::intercept::Turn;

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr std::chrono::milliseconds kLongest{500};
#else
constexpr std::chrono::milliseconds kLongest{50};
#endif

struct Flood {
  const char* what;
  std::function<void(Peer& program, Peer& server)> begin;
  std::string bytes;  ///< what is said over and over
  std::size_t size;   ///< bytes in all
  bool by_program = false;
};

void ask_for(Peer& program, Peer& server, std::string_view answer) {
  passes(program, server, "GET /a HTTP/1.1\r\nHost: h.test\r\n\r\n");
  passes(server, program, answer);
}

/// An event stream whose URL is as long as may be.
void begin_long_url(Peer& program, Peer& server) {
  passes(program, server, rig::kGet);  // the first head would be too long to be told as HTTP
  passes(server, program, rig::kOk);
  passes(program, server,
         "GET /" + std::string(240'000, 'u') + " HTTP/1.1\r\nHost: h.test\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
}

void begin_websocket(Peer& program, Peer& server) {
  passes(program, server,
         "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  passes(server, program,
         "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n");
}

/// 3 MiB, one byte in `gap` of which is no zero.
std::string bomb(std::size_t gap) {
  std::string clear(3 << 20, '\0');
  std::uint32_t seed = 1;
  for (std::size_t at = 0; at < clear.size(); at += gap) {
    seed = seed * 1664525 + 1013904223;
    clear[at] = static_cast<char>(seed >> 24);
  }
  return websocket::says(websocket::kBinary | websocket::kCompressed,
                         websocket::Deflater{false}.deflate(clear));
}

/// The program takes compression tables of 64 KiB and has asked for something.
void begin_http2(Peer& program, Peer& server) {
  frames::Packer packer;
  passes(program, server, std::string(frames::kPreface) + frames::settings({{1, 64 << 10}}));
  passes(server, program, frames::settings({{1, 64 << 10}}) + frames::acknowledgement());
  passes(program, server, frames::acknowledgement() + packer.headers(1, frames::get("/"), false));
}

/// Enlarges the table to 64 KiB and puts a field of 60,000 bytes there.
std::string large_field() {
  constexpr std::size_t kSize = 60'000;
  std::string block = "\x3f\xe1\xff\x03\x40\x01x\x7f";
  std::size_t rest = kSize - 0x7f;
  for (; rest >= 0x80; rest >>= 7) block += static_cast<char>(rest | 0x80);
  block += static_cast<char>(rest);
  return block.append(kSize, 'v');
}

constexpr std::string_view kInterim{
    "\x08\x03"
    "103",
    5};
constexpr std::string_view kFourTimes = "\xbe\xbe\xbe\xbe";

void begin_large_field(Peer& program, Peer& server) {
  begin_http2(program, server);
  passes(
      server, program,
      frames::frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, large_field().append(kInterim)));
}

void begin_grpc(Peer& program, Peer& server) {
  begin_http2(program, server);
  frames::Packer packer;
  passes(server, program,
         packer.headers(1, {{":status", "200"}, {"content-type", "application/grpc"}}, false));
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

struct TlsFlood {
  const char* what;
  std::function<void(SSL*)> say;
  bool by_program = false;
  std::size_t carried = 0;  ///< bytes
};

std::vector<TlsFlood> tls_floods() {
  constexpr int kUpdates = 40'000, kTickets = 4'000, kRecords = 100'000;
  const auto update = [](SSL* ssl) {
    for (int i = 0; i < kUpdates; ++i) {
      SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
      SSL_do_handshake(ssl);
    }
  };
  const auto tickets = [](SSL* ssl) {
    for (int i = 0; i < kTickets; ++i) {
      SSL_new_session_ticket(ssl);
      SSL_do_handshake(ssl);
    }
  };
  const auto bytes = [](SSL* ssl) {
    for (int i = 0; i < kRecords; ++i) SSL_write(ssl, "x", 1);
  };
  return {
      {"new keys of the server", update},
      {"new keys of the program", update, true},
      {"tickets", tickets},
      {"records of a byte", bytes, false, kRecords},
  };
}

std::vector<Flood> floods() {
  using frames::frame;
  constexpr std::size_t kMiB = 1 << 20;
  const auto answer = [](std::string_view fields) {
    return [fields = std::string(fields)](Peer& program, Peer& server) {
      ask_for(program, server, "HTTP/1.1 200 OK\r\n" + fields + "\r\n");
    };
  };
  const std::string interim =
      frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, std::string(kInterim).append(kFourTimes));
  const std::string fields = "GET / HTTP/1.1\r\nHost: h\r\n" + repeated("a:\r\n", 60'000) + "\r\n";
  return {
      {"a WebSocket whose messages unfold to 150 times their size", begin_websocket, bomb(180),
       kMiB},
      {"a WebSocket whose messages unfold to 1000 times their size", begin_websocket, bomb(3 << 20),
       kMiB},
      {"empty pings of a WebSocket", begin_websocket, websocket::says(websocket::kPing, ""),
       kMiB / 4},
      {"empty events", answer("Content-Type: text/event-stream\r\n"), "data\n\n", kMiB / 2},
      {"empty events of a long URL", begin_long_url, "data\n\n", 96 << 10},
      {"chunks of a byte", answer("Transfer-Encoding: chunked\r\n"), "1\r\nx\r\n", 4 * kMiB},
      {"a body", answer("Content-Length: 999999999\r\n"), std::string(kMiB, 'x'), 64 * kMiB},
      {"empty messages of gRPC", begin_grpc, frames::data(1, std::string(5000, '\0'), false),
       kMiB / 2},
      {"streams that are reset at once", begin_http2, frames::reset(1, NGHTTP2_NO_ERROR), kMiB / 2},
      {"large fields of interim answers", begin_large_field, interim, kMiB / 4},
      {"pings of HTTP/2", begin_http2, frame(NGHTTP2_PING, 0, 0, "12345678"), 4 * kMiB},
      {"requests with 60,000 fields", [](Peer&, Peer&) {}, fields, fields.size(), true},
      {"short requests", [](Peer&, Peer&) {}, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 250 * 26, true},
  };
}

/// All of `wire` at once. What it carries is heard by `to`.
void check_turns(Engine& engine, Peer& from, Peer& to, std::string_view wire, std::size_t carried) {
  engine.runner().watch_turns();
  from.say({}, wire);
  CHECK(to.hear(carried).size() == carried);
  const auto longest =
      std::chrono::duration_cast<std::chrono::microseconds>(engine.runner().longest_turn());
  CHECK_MESSAGE(longest < kLongest, longest.count() << " us");
}

std::chrono::nanoseconds processor_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

boost::asio::awaitable<void> use_up_turns(int count) {
  Turn turn;
  for (int i = 0; i < count; ++i) {
    while (!turn.is_over()) {
    }
    co_await turn.yield_when_over();
  }
}

}  // namespace

TEST_CASE("turn: none is over before it is asked, and it lasts as long as it says") {
  const Turn::Clock::time_point start{};
  Turn turn;
  CHECK_FALSE(turn.is_over(start));
  CHECK_FALSE(turn.is_over(start + Turn::kLength - std::chrono::microseconds{1}));
  CHECK(turn.is_over(start + Turn::kLength));
  turn.restart();
  CHECK_FALSE(turn.is_over(start + 10 * Turn::kLength));
  CHECK(turn.is_over(start + 11 * Turn::kLength));
}

TEST_CASE("turn: whatever one connection carries, the others of its thread have their turns") {
  for (const auto& flood : floods()) {
    const std::string what = flood.what;
    CAPTURE(what);
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    flood.begin(program, server);
    Peer& from = flood.by_program ? program : server;
    Peer& to = flood.by_program ? server : program;
    const std::string many = repeated(flood.bytes, flood.size / flood.bytes.size());
    check_turns(engine, from, to, many, many.size());
    program.close();
    server.close();
  }
}

TEST_CASE("turn: records of TLS that carry little or nothing do not hold up the others") {
  for (const auto& flood : tls_floods()) {
    const std::string what = flood.what;
    CAPTURE(what);
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const mitm::tls::SslCtxPtr client = rig::ours().client(),
                               origin = rig::theirs().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"}).program);
    const std::string length = "Content-Length: 999999999\r\n\r\n";
    passes(program, server, "POST / HTTP/1.1\r\nHost: h.test\r\n" + length);
    passes(server, program, "HTTP/1.1 200 OK\r\n" + length);
    Peer& from = flood.by_program ? program : server;
    Peer& to = flood.by_program ? server : program;
    const std::string wire = from.sealed([&flood](SSL* ssl) {
      flood.say(ssl);
      SSL_write(ssl, "!", 1);
    });
    check_turns(engine, from, to, wire, flood.carried + 1);
    program.close();
    server.close();
  }
}

TEST_CASE("turn: a context that has seconds of turns to run shows signs of life between them") {
  boost::asio::io_context context{1};
  std::chrono::nanoseconds last = processor_time(), longest{0};
  divert::heartbeat_of(context).start([&last, &longest] {
    const auto now = processor_time();
    longest = std::max(longest, now - std::exchange(last, now));
  });
  constexpr int kBusy = 300;
  for (int i = 0; i < kBusy; ++i)
    boost::asio::co_spawn(context, use_up_turns(2), boost::asio::detached);
  context.run();
  longest = std::max(longest, processor_time() - last);
  CHECK(longest < std::chrono::milliseconds{800});
}
