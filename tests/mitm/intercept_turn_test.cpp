// One connection whose bytes cost far more than they are: the others of its io_context get their turns all
// the same. What is measured is the processor time of the engine's thread between two runs of a handler that
// is always ready, which a busy machine does not change.
#include <functional>
#include <future>

#include "mitm/intercept/turn.h"
#include "tests/mitm/http2_frames.h"
#include "tests/mitm/intercept_rig.h"
#include "tests/mitm/websocket_frames.h"
#include "tests/test.h"

using mitm::intercept::Turn;
using rig::Peer;
using rig::Rig;

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
  rig::passes(program, server, "GET /a HTTP/1.1\r\nHost: h.test\r\n\r\n");
  rig::passes(server, program, answer);
}

void begin_websocket(Peer& program, Peer& server) {
  rig::passes(program, server,
              "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  rig::passes(server, program,
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
  rig::passes(program, server, std::string(frames::kPreface) + frames::settings({{1, 64 << 10}}));
  rig::passes(server, program, frames::settings({{1, 64 << 10}}) + frames::acknowledgement());
  rig::passes(program, server, frames::acknowledgement() + packer.headers(1, frames::get("/"), false));
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
  rig::passes(server, program,
              frames::frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, large_field().append(kInterim)));
}

void begin_grpc(Peer& program, Peer& server) {
  begin_http2(program, server);
  frames::Packer packer;
  rig::passes(server, program,
              packer.headers(1, {{":status", "200"}, {"content-type", "application/grpc"}}, false));
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
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
      {"a WebSocket whose messages unfold to 150 times their size", begin_websocket, bomb(180), kMiB},
      {"a WebSocket whose messages unfold to 1000 times their size", begin_websocket, bomb(3 << 20), kMiB},
      {"empty pings of a WebSocket", begin_websocket, websocket::says(websocket::kPing, ""), kMiB / 4},
      {"empty events", answer("Content-Type: text/event-stream\r\n"), "data\n\n", kMiB / 2},
      {"chunks of a byte", answer("Transfer-Encoding: chunked\r\n"), "1\r\nx\r\n", 4 * kMiB},
      {"a body", answer("Content-Length: 999999999\r\n"), std::string(kMiB, 'x'), 64 * kMiB},
      {"empty messages of gRPC", begin_grpc, frames::data(1, std::string(5000, '\0'), false), kMiB / 2},
      {"streams that are reset at once", begin_http2, frames::reset(1, NGHTTP2_NO_ERROR), kMiB / 2},
      {"large fields of interim answers", begin_large_field, interim, kMiB / 4},
      {"pings of HTTP/2", begin_http2, frame(NGHTTP2_PING, 0, 0, "12345678"), 4 * kMiB},
      {"requests with 60,000 fields", [](Peer&, Peer&) {}, fields, fields.size(), true},
      {"short requests", [](Peer&, Peer&) {}, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 250 * 26, true},
  };
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
    Rig rig{rig::trusting()};
    rig.take_much_at_once();
    auto [program, server] = rig.open();
    flood.begin(program, server);
    Peer& from = flood.by_program ? program : server;
    Peer& to = flood.by_program ? server : program;
    const std::string many = repeated(flood.bytes, flood.size / flood.bytes.size());
    rig.watch_turns();
    // As much as possible is to be there at once.
    std::promise<void> resume = rig.pause();
    const std::size_t there = from.say_what_fits(many);
    auto said = std::async(std::launch::async, [&from, &many, there] {
      return from.try_say(std::string_view(many).substr(there));
    });
    resume.set_value();
    CHECK(to.hear(many.size()).size() == many.size());
    CHECK(said.get());
    const auto longest = std::chrono::duration_cast<std::chrono::microseconds>(rig.longest_turn());
    CHECK_MESSAGE(longest < kLongest, longest.count() << " us");
    program.close();
    server.close();
  }
}
