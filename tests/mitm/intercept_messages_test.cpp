// Dialogues of which each message is an event: WebSocket over HTTP/1.1 and HTTP/2, event streams,
// gRPC.
#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/mitm/websocket_frames.h"
#include "tests/test.h"

using namespace websocket;
using dialogue::Engine;
using dialogue::Peer;
using mitm::http::Message;
using rig::End;
using Type = test::FlatFlow::Type;

namespace {

/// Agrees on WebSocket; `extra`: fields of the answer.
void upgrade(Peer& program, Peer& server, std::string_view extra = {}) {
  passes(program, server,
         "GET /chat HTTP/1.1\r\nHost: h.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  passes(
      server, program,
      fmt::format(
          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n{}\r\n",
          extra));
}

void end(Peer& program, Peer& server) {
  server.finish();
  CHECK(program.hear_all() == "");
  program.finish();
  CHECK(server.hear_all() == "");
}

/// ">text 5 hello": all that a message says.
std::string words(const test::FlatFlow& flow) {
  const Message& what = flow.message->what;
  return fmt::format("{}{} {} {}", flow.message->from_server ? "<" : ">", to_string(what.kind),
                     what.bytes ? std::to_string(*what.bytes) : "?", what.payload);
}

}  // namespace

TEST_CASE("messages: of a WebSocket, each an event of the request's flow, which ends with it") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  upgrade(program, server);
  const auto start = engine.started(1).at(0);
  CHECK(start.type == Type::http);
  CHECK(start.status == 101);
  passes(program, server, asks(kText, "hello"));
  CHECK(words(engine.messages(1).at(0)) == ">text 5 hello");  // before anything else happens
  passes(server, program, says(kBinary, "one", false) + says(kPing, "?") + says(kMore, "two"));
  passes(program, server,
         asks(kPong, "?") + asks(kClose,
                                 "\x03\xe8"
                                 "bye"));
  passes(server, program, says(kClose, "\x03\xe8"));
  end(program, server);
  const auto messages = engine.messages(6);
  CHECK(words(messages[1]) == "<ping 1 ?");
  CHECK(words(messages[2]) == "<binary 6 onetwo");
  CHECK(words(messages[3]) == ">pong 1 ?");
  CHECK(words(messages[4]) == ">close 5 ");
  CHECK(messages[4].message->what.code == 1000);
  CHECK(messages[4].message->what.reason == "bye");
  CHECK(words(messages[5]) == "<close 2 ");
  for (const auto& message : messages) {
    CHECK(message.type == Type::websocket);
    CHECK(message.id == start.id);
    CHECK(message.conn == start.conn);
    CHECK(message.url == rig::with_port("http://h.test/chat", message));
    CHECK(message.host == "h.test");
    CHECK(message.decision == "intercept");
  }
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::http);
  CHECK(flow.id == start.id);
  CHECK(flow.status == 101);
  CHECK(flow.request_bytes == 11 + 7 + 11);
  CHECK(flow.response_bytes == 5 + 3 + 5 + 4);
  CHECK(flow.error == "");
  CHECK(engine.ended(1).size() == 1);
}

TEST_CASE("messages: frames that come with the answer, or before it, are read") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const std::string ask =
      "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
  const std::string yes =
      "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + says(kText, "hi");
  program.say(ask + asks(kText, "early"));
  CHECK(server.hear(ask.size()) == ask);
  passes(server, program, yes);
  CHECK(server.hear(11) == asks(kText, "early"));
  const auto messages = engine.messages(2);
  CHECK(std::min(words(messages[0]), words(messages[1])) == "<text 2 hi");
  CHECK(std::max(words(messages[0]), words(messages[1])) == ">text 5 early");
}

TEST_CASE("messages: compressed as both sides have agreed, kept up to the limit, bytes untouched") {
  auto settings = rig::trusting();
  settings.body_limit = 8;
  settings.message_limit = 8;
  Engine engine{settings};
  auto [program, server] = engine.open();
  upgrade(program, server,
          "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n");
  Deflater up, down{false};
  for (int i = 0; i < 2; ++i) {
    passes(program, server, asks(kText | kCompressed, up.deflate("to and fro")));
    passes(server, program, says(kText | kCompressed, down.deflate("fro and to")));
    const auto messages = engine.messages(2 * i + 2);
    CHECK(words(messages[2 * i]) == ">text 10 to and f");
    CHECK(words(messages[2 * i + 1]) == "<text 10 fro and ");
    CHECK(messages[2 * i].message->what.compressed);
    CHECK(messages[2 * i].message->what.cut);
  }
}

TEST_CASE("messages: whatever cannot be read passes all the same, and the flow says why") {
  struct Case {
    const char* what;
    const char* answer;
    std::string bytes;
    bool by_program;
    const char* error;
  };
  const Case cases[] = {
      {"garbage", "", "\x01\x02\x03 not WebSocket at all\r\n", false,
       "not all messages of the server are shown: a frame has a reserved opcode"},
      {"not masked", "", says(kText, "x"), true,
       "not all messages of the program are shown: a frame of the program is not masked"},
      {"unknown extension", "Sec-WebSocket-Extensions: x-other; a\r\n", says(kText | 0x10U, "x"),
       false, "no messages are shown: the WebSocket extension x-other is not known"},
      {"no close frame", "", says(kPing, ""), false, "the WebSocket ended without a close frame"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.what);
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    upgrade(program, server, one.answer);
    passes(one.by_program ? program : server, one.by_program ? server : program, one.bytes);
    passes(server, program, says(kBinary, "still there"));
    end(program, server);
    CHECK(engine.ended(1).at(0).error == one.error);
  }
}

TEST_CASE("messages: a WebSocket that is reset resets the other side, and says so") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  upgrade(program, server);
  passes(program, server, asks(kText, "hello"));
  server.reset();
  CHECK(program.hear_all() == "");
  CHECK(program.end() == End::reset);
  CHECK(engine.ended(1).at(0).error == "the server: connection reset by peer");
}

TEST_CASE("messages: of a WebSocket inside HTTP/2, beside an ordinary stream") {
  using namespace frames;
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  Packer up, down;
  passes(program, server, std::string(kPreface) + settings());
  passes(server, program,
         settings({{8, 1}}) + frames::frame(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0));
  const List connect = {{":method", "CONNECT"},
                        {":protocol", "websocket"},
                        {":scheme", "https"},
                        {":authority", "h.test"},
                        {":path", "/chat"}};
  const std::string open = up.headers(1, connect, false);
  const std::string other = up.headers(3, get("/other"), true);
  passes(program, server, open + other);
  const std::string accept = down.headers(
      1, {{":status", "200"}, {"sec-websocket-extensions", "permessage-deflate"}}, false);
  const std::string answer = down.headers(3, {{":status", "200"}}, false);
  Deflater deflater;
  const std::string text = says(kText | kCompressed, deflater.deflate("from the server"));
  passes(server, program,
         accept + answer + data(1, text.substr(0, 3), false) + data(3, text, true) +
             data(1, text.substr(3), false));
  passes(program, server, data(1, asks(kText, "from the program"), false));
  passes(program, server, data(1, asks(kClose, "\x03\xe9"), true));
  passes(server, program, data(1, says(kClose, "\x03\xe9"), true));
  const auto flows = engine.ended(2);
  CHECK(flows[0].url == rig::with_port("https://h.test/other", flows[0]));
  CHECK(flows[1].method == "CONNECT");
  CHECK(flows[1].url == rig::with_port("https://h.test/chat", flows[1]));
  CHECK(flows[1].error == "");
  const auto messages = engine.messages(4);
  CHECK(words(messages[0]) == "<text 15 from the server");
  CHECK(words(messages[1]) == ">text 16 from the program");
  CHECK(messages[2].message->what.code == 1001);
  CHECK(messages[3].message->from_server);
  for (const auto& message : messages) CHECK(message.id == flows[1].id);
  CHECK(engine.messages(4).size() == 4);
  CHECK(engine.started(1).at(0).id == flows[1].id);
}

TEST_CASE(
    "messages: what answers a refused WebSocket, or another protocol's CONNECT, is no message") {
  using namespace frames;
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  Packer up, down;
  passes(program, server, std::string(kPreface) + settings());
  passes(server, program, settings({{8, 1}}));
  std::uint32_t stream = 1;
  for (const auto& [protocol, status] :
       {std::pair{"websocket", "403"}, std::pair{"connect-udp", "200"}}) {
    passes(program, server,
           up.headers(stream,
                      {{":method", "CONNECT"},
                       {":protocol", protocol},
                       {":scheme", "https"},
                       {":authority", "h.test"},
                       {":path", "/"}},
                      false));
    passes(
        server, program,
        down.headers(stream, {{":status", status}}, false) + data(stream, says(kText, "no"), true));
    passes(program, server, data(stream, "", true));
    stream += 2;
  }
  const auto flows = engine.ended(2);
  CHECK(flows[0].status == 403);
  CHECK(flows[0].error == "");
  CHECK(flows[1].error == "");
  CHECK(engine.messages(0).empty());
}

TEST_CASE("messages: of gRPC, both ways as they stream, with the trailers in the flow") {
  using namespace frames;
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  Packer up, down;
  passes(program, server, std::string(kPreface) + settings());
  passes(server, program, settings());
  auto post = get("/pkg.Service/Method");
  post[0].second = "POST";
  post.emplace_back("content-type", "application/grpc+proto");
  const std::string one = number(0, 1) + number(3, 4) + "one";
  const std::string zip = number(1, 1) + number(2, 4) + "zz";
  passes(program, server, up.headers(1, post, false) + data(1, one + one.substr(0, 4), false));
  CHECK(words(engine.messages(1).at(0)) == ">call 3 one");
  REQUIRE(engine.started(0).size() == 1);  // before its first message
  CHECK(engine.started(0)[0].id == engine.messages(1).at(0).id);
  passes(server, program,
         down.headers(1, {{":status", "200"}, {"content-type", "application/grpc"}}, false) +
             data(1, zip, false));
  CHECK(words(engine.messages(2).at(1)) == "<call 2 zz");
  CHECK(engine.messages(2).at(1).message->what.compressed);
  passes(program, server, data(1, one.substr(4), true));
  CHECK(words(engine.messages(3).at(2)) == ">call 3 one");
  passes(server, program, down.headers(1, {{"grpc-status", "0"}}, true));
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.response_trailers.find("grpc-status") == "0");
  CHECK(flow.error == "");
  for (const auto& message : engine.messages(3)) {
    CHECK(message.type == Type::grpc);
    CHECK(message.id == flow.id);
  }
  CHECK(engine.started(0).size() == 1);
}

TEST_CASE(
    "messages: the start of a gRPC-Web call comes "
    "before what the program says, over HTTP/1.1 too") {
  using frames::number;
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         "POST /pkg.Service/Method HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc-web\r\n"
         "Content-Length: 8\r\n\r\n" +
             number(0, 1) + number(3, 4) + "one");
  const auto message = engine.messages(1).at(0);
  CHECK(words(message) == ">call 3 one");
  REQUIRE(engine.started(0).size() == 1);
  CHECK(engine.started(0)[0].id == message.id);
  passes(server, program,
         "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n" +
             number(0, 1) + number(0, 4));
  CHECK(engine.ended(1).at(0).id == message.id);
  CHECK(engine.started(0).size() == 1);
}

TEST_CASE(
    "messages: repeat 2 KiB of a URL, which may be a hundred thousand times as long as they are") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         rig::kGet);  // the next head alone would be too long to be told as HTTP
  passes(server, program, rig::kOk);
  passes(program, server,
         "GET /" + std::string(200'000, 'u') + " HTTP/1.1\r\nHost: h.test\r\n\r\n");
  passes(server, program,
         "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 6\r\n\r\ndata\n\n");
  const std::string url = engine.ended(2).at(1).url;
  CHECK(url.size() > 200'000);
  CHECK((engine.messages(1).at(0).url == url.substr(0, 2 << 10)));
}

TEST_CASE("messages: of an event stream, as each comes; not of one that is compressed") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const std::string_view get = "GET /events HTTP/1.1\r\nHost: h\r\n\r\n";
  passes(program, server, get);
  passes(
      server, program,
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
  CHECK(engine.started(1).at(0).status == 200);
  passes(server, program, "16\r\nevent: tick\nid: 1\ndata\r\n");
  passes(server, program, "6\r\n: 12\n\n\r\n");
  const auto message = engine.messages(1).at(0);
  CHECK(message.type == Type::sse);
  CHECK(words(message) == "<event 2 12");
  CHECK(message.message->what.name == "tick");
  CHECK(message.message->what.id == "1");
  passes(server, program, "9\r\ndata: x\n\n\r\n");
  CHECK(words(engine.messages(2).at(1)) == "<event 1 x");
  passes(server, program, "0\r\n\r\n");
  CHECK(engine.ended(1).at(0).id == message.id);
  passes(program, server, get);
  passes(server, program,
         "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
         "Content-Length: 9\r\n\r\n"
         "data: x\n\n");
  CHECK(engine.ended(2).at(1).error == "");
  CHECK(engine.messages(2).size() == 2);
}

TEST_CASE("messages: an event stream shows its start while it lasts") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, rig::kGet);
  passes(server, program, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
  const auto start = engine.started(1).at(0);
  CHECK(start.status == 200);
  CHECK_FALSE(start.duration.has_value());
  server.close();
  CHECK(engine.ended(1).at(0).id == start.id);
}
