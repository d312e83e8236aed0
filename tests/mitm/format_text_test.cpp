#include <cstdlib>
#include <ctime>

#include "base/text.h"
#include "mitm/format/sinks.h"
#include "tests/mitm/sample_flows.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

// The text has the time of day of the machine.
[[maybe_unused]] const bool kInUtc = [] {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  return true;
}();

std::size_t columns(std::string_view line) {
  return static_cast<std::size_t>(
      std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n') + 1);
}

}  // namespace

TEST_CASE("text: one line per flow at detail 1") {
  const struct {
    const char* what;
    void (*change)(test::FlatFlow&);
    test::FlatFlow::Type type;
    const char* line;
  } cases[] = {
      {"request and response", [](test::FlatFlow&) {}, test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → 200 OK 1.2k 34ms\n"},
      {"unknown program", [](test::FlatFlow& f) { f.process = nullptr; },
       test::FlatFlow::Type::http, "09:26:50 ? GET https://example.org/path → 200 OK 1.2k 34ms\n"},
      {"gRPC that failed",
       [](test::FlatFlow& f) {
         f.response_trailers.add("grpc-status", "5");
         f.response_trailers.add("grpc-message", "no such thing");
       },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → 200 OK NOT_FOUND: no such thing "
       "1.2k 34ms\n"},
      {"gRPC that failed at once",
       [](test::FlatFlow& f) { f.response_headers.add("grpc-status", "14"); },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → 200 OK UNAVAILABLE 1.2k 34ms\n"},
      {"gRPC begins",
       [](test::FlatFlow& f) {
         f.event = test::FlatFlow::Event::start;
         f.status = 0;
       },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path, waiting for the response\n"},
      {"an answer that is not HTTP",
       [](test::FlatFlow& f) {
         f.status = 0;
         f.error = "the server's answer is not HTTP";
       },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → no status 34ms "
       "✗ the server's answer is not HTTP\n"},
      {"of a script",
       [](test::FlatFlow& f) {
         auto process = std::make_shared<procmap::ProcessFacts>(*f.process);
         process->name = "python3.11";
         process->exe = "/usr/bin/python3.11";
         process->other_names = {"python3", "/opt/pro\x1bg.py"};
         f.process = std::move(process);
       },
       test::FlatFlow::Type::http,
       "09:26:50 python3.11 pro\\x1bg.py[1234] GET https://example.org/path → 200 OK 1.2k 34ms\n"},
      {"status without a name", [](test::FlatFlow& f) { f.status = 799; },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → 799 1.2k 34ms\n"},
      {"bytes not counted", [](test::FlatFlow& f) { f.response_bytes.reset(); },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → 200 OK 34ms\n"},
      {"error page",
       [](test::FlatFlow& f) {
         f.status = 502;
         f.error = "certificate of example.org has expired";
       },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → 502 Bad Gateway 1.2k 34ms ✗ "
       "certificate of example.org has expired\n"},
      {"no response",
       [](test::FlatFlow& f) {
         f.status = 0;
         f.response_bytes.reset();
         f.error = "client went away";
       },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → no response 34ms ✗ client went away\n"},
      {"no request that could be read",
       [](test::FlatFlow& f) {
         f.method.clear();
         f.url.clear();
         f.status = 400;
       },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] http example.org:443 (93.184.216.34) → 400 Bad Request 1.2k 34ms\n"},
      {"event stream begins", [](test::FlatFlow& f) { f.event = test::FlatFlow::Event::start; },
       test::FlatFlow::Type::http,
       "09:26:50 curl[1234] GET https://example.org/path → 200 OK, under way\n"},
      {"raw connection",
       [](test::FlatFlow& f) {
         f.request_bytes = 1234;
         f.response_bytes = 3500;
       },
       test::FlatFlow::Type::tcp,
       "09:26:50 curl[1234] tcp 93.184.216.34:443 1.2k up 3.4k down 34ms\n"},
      {"raw connection in TLS",
       [](test::FlatFlow& f) {
         f.host = "example.org";
         f.tls = std::make_shared<const flow::TlsFacts>(flow::TlsFacts{"TLSv1.3", "c", ""});
       },
       test::FlatFlow::Type::tcp,
       "09:26:50 curl[1234] tcp example.org:443 (93.184.216.34) TLSv1.3 34ms\n"},
      {"plain at first",
       [](test::FlatFlow& f) {
         f.tls = std::make_shared<const flow::TlsFacts>(flow::TlsFacts{"TLSv1.3", "c", ""});
         f.starttls = "smtp";
       },
       test::FlatFlow::Type::tcp,
       "09:26:50 curl[1234] tcp 93.184.216.34:443 smtp STARTTLS TLSv1.3 34ms\n"},
      {"raw connection begins", [](test::FlatFlow& f) { f.event = test::FlatFlow::Event::start; },
       test::FlatFlow::Type::tcp, ""},
      {"refused certificate",
       [](test::FlatFlow& f) {
         f.host = "example.org";
         f.error = "curl does not trust the CA";
       },
       test::FlatFlow::Type::tls_error,
       "09:26:50 curl[1234] tls example.org:443 (93.184.216.34) 34ms ✗ curl does not trust "
       "the CA\n"},
      {"failed at once",
       [](test::FlatFlow& f) {
         f.duration = std::chrono::microseconds{49};
         f.error = "curl does not trust the CA";
       },
       test::FlatFlow::Type::tls_error,
       "09:26:50 curl[1234] tls 93.184.216.34:443 ✗ curl does not trust the CA\n"},
      {"passed", [](test::FlatFlow&) {}, test::FlatFlow::Type::pass, ""},
      {"passed and failed", [](test::FlatFlow& f) { f.error = "reset"; },
       test::FlatFlow::Type::pass, ""},
      {"blocked", [](test::FlatFlow& f) { f.reason = "rules[1]"; }, test::FlatFlow::Type::block,
       "09:26:50 curl[1234] block 93.184.216.34:443 34ms: rules[1]\n"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.what);
    test::FlatFlow flow =
        c.type == test::FlatFlow::Type::http ? sample_http() : sample_connection(c.type);
    c.change(flow);
    CHECK(render_text(flow, {.detail = 1}) == c.line);
    CHECK(render_text(flow, {.detail = 0}) == "");
  }
}

TEST_CASE("text: detail 2 adds passed connections and what they have begun") {
  test::FlatFlow pass = sample_connection(test::FlatFlow::Type::pass);
  pass.reason = "not selected by the filter curl";
  CHECK(render_text(pass, {.detail = 2}) ==
        "09:26:50 curl[1234] pass 93.184.216.34:443 34ms: not selected by the filter curl\n"
        "    /usr/bin/curl (user alice, parent 1000): curl -s https://example.org/path\n"
        "    10.0.0.1:41000 → 93.184.216.34:443, intercept (not selected by the filter curl)\n");
  test::FlatFlow begun = sample_connection(test::FlatFlow::Type::tcp);
  begun.event = test::FlatFlow::Event::start;
  CHECK(first_line(render_text(begun, {.detail = 2})) ==
        "09:26:50 curl[1234] tcp 93.184.216.34:443, under way\n");
}

TEST_CASE("text: detail 2 says what a server that asks for a client certificate was shown") {
  test::FlatFlow flow = sample_http();
  const std::pair<const char*, const char*> cases[] = {
      {"none",
       " for example.org; server: TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256, client certificate asked "
       "for, none shown, HTTP/1.1"},
      {"/c/me.pem", "-SHA256, client certificate /c/me.pem, HTTP/1.1"}};
  for (const auto& [shown, text] : cases) {
    auto tls = *flow.upstream_tls;
    tls.client_certificate = shown;
    flow.upstream_tls = std::make_shared<const flow::TlsFacts>(std::move(tls));
    CHECK(render_text(flow, {.detail = 2}).find(text) != std::string::npos);
    CHECK(render_text(flow, {.detail = 1}).find("client certificate") == std::string::npos);
  }
}

TEST_CASE("text: a flow says which rule has changed or answered it") {
  const auto line_with = [](bool answered, bool changed) {
    auto edits = std::make_shared<flow::Edits>();
    edits->by = {"one", "t\x1bwo"};
    edits->answered = answered;
    if (changed) edits->request.emplace();
    test::FlatFlow flow = sample_http();
    flow.edits = std::move(edits);
    return first_line(render_text(flow, {.detail = 1}));
  };
  CHECK(line_with(false, true).ends_with(" 34ms edited by one, t\\x1bwo\n"));
  CHECK(line_with(true, false).ends_with(" 34ms answered by one, t\\x1bwo\n"));
  CHECK(line_with(false, false).ends_with(" 34ms rule one, t\\x1bwo\n"));
}

TEST_CASE("text: detail 2 shows what was refused, line by line, made safe") {
  test::FlatFlow flow = sample_http();
  flow.refused = "HTTP/1.1 200 OK\r\nA: \x1b[2J\rB: c\r\n\r\n" + std::string(4000, 'x');
  const std::string text = render_text(flow, {.detail = 2});
  CHECK(text.find("    ! HTTP/1.1 200 OK\n    ! A: \\x1b[2J\\x0dB: c\n    ! \n    ! xxx") !=
        std::string::npos);
  CHECK(text.size() < 3000);
  CHECK(render_text(flow, {.detail = 1}).find("A: ") == std::string::npos);
}

TEST_CASE("text: detail 2 shows the server's certificates, of a failure as well") {
  test::FlatFlow flow = sample_http();
  auto tls = *flow.upstream_tls;
  using std::chrono::hours;
  const std::vector<std::string> many{"1.test", "2.test", "3.test", "4.test",
                                      "5.test", "6.test", "7.test"};
  tls.certificates = std::make_shared<const flow::CertificateChain>(flow::CertificateChain{
      {"CN = \x1b[1m", "CN = CA", many, sample_time(), sample_time() + hours{48}, "AB"},
      {"CN = CA", "CN = CA", {}, sample_time(), sample_time() + hours{48}, "CD"}});
  flow.upstream_tls = std::make_shared<const flow::TlsFacts>(std::move(tls));
  const std::string text =
      "    server's certificate: CN = \\x1b[1m (1.test, 2.test, 3.test, 4.test, 5.test and 2 "
      "more), issued by CN = CA, valid 2026-11-23 09:26 UTC to 2026-11-25 09:26 UTC\n"
      "      sent with it: CN = CA, issued by itself, valid 2026-11-23 09:26 UTC to 2026-11-25 "
      "09:26 UTC\n";
  for (const auto type : {test::FlatFlow::Type::http, test::FlatFlow::Type::tls_error}) {
    flow.type = type;
    CHECK(render_text(flow, {.detail = 2}).find(text) != std::string::npos);
    CHECK(render_text(flow, {.detail = 1}).find("certificate") == std::string::npos);
  }
}

TEST_CASE("text: detail 2 shows the headers of both sides, detail 3 the bodies") {
  const std::string head =
      "09:26:50 curl[1234] GET https://example.org/path → 200 OK 1.2k 34ms\n"
      "    /usr/bin/curl (user alice, parent 1000): curl -s https://example.org/path\n"
      "    10.0.0.1:41000 → 93.184.216.34:443, TLSv1.3 TLS_AES_256_GCM_SHA384 for example.org; "
      "server: TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256, HTTP/1.1, intercept (filter curl)\n"
      "    > Host: example.org\n"
      "    < Content-Type: text/plain\n";
  test::FlatFlow flow = sample_http();
  CHECK(render_text(flow, {.detail = 2}) == head);
  CHECK(render_text(flow, {.detail = 3}) ==
        head + "    <\n    < hello\n    ... 6b of 1.2k, the limit of --bodies\n");
  flow.response_bytes = 6;
  flow.response_body_cut = false;
  CHECK(render_text(flow, {.detail = 3}).ends_with("text/plain\n    <\n    < hello\n"));
}

TEST_CASE("text: detail 3 shortens bodies, detail 4 does not") {
  test::FlatFlow flow = sample_http();
  flow.response_body.assign(2000, 'x');
  flow.response_bytes = 2000;
  const std::string short_text = render_text(flow, {.detail = 3});
  CHECK(short_text.ends_with("\n    < " + std::string(512, 'x') + "\n    ... 512b of 2.0k\n"));
  CHECK(render_text(flow, {.detail = 4}).ends_with("\n    < " + std::string(2000, 'x') + "\n"));
}

TEST_CASE(
    "text: detail 3 marks bodies and trailers with their direction, in the order of the wire") {
  test::FlatFlow flow = sample_http();
  flow.method = "POST";
  flow.request_body = "a=1\nb=2";
  flow.request_bytes = 7;
  flow.request_trailers.add("X-Sum", "1");
  flow.response_bytes = 6;
  flow.response_trailers.add("X-Sum", "2");
  const std::string text = render_text(flow, {.detail = 3});
  CHECK(text.substr(text.find("    > Host")) ==
        "    > Host: example.org\n    >\n    > a=1\n    > b=2\n    > X-Sum: 1\n"
        "    < Content-Type: text/plain\n    <\n    < hello\n    < X-Sum: 2\n");
}

TEST_CASE("text: what was shown message by message is not shown again as a body") {
  const auto body_of = [](const char* type, const char* coding, const char* error) {
    test::FlatFlow flow = sample_http();
    flow.request_headers = flow.response_headers = {};
    flow.response_headers.add("content-type", type);
    if (*coding != 0) flow.response_headers.add("content-encoding", coding);
    flow.response_body = "data: once\n\n";
    flow.response_bytes = flow.response_body.size();
    flow.error = error;
    const std::string text = render_text(flow, {.detail = 4});
    return text.find("once") != std::string::npos || text.find("64 61 74 61") != std::string::npos;
  };
  CHECK(!body_of("text/event-stream", "", ""));
  CHECK(!body_of("text/event-stream; charset=utf-8", "identity", ""));
  CHECK(!body_of("application/grpc+proto", "", ""));
  CHECK(body_of("text/event-stream", "br", ""));
  CHECK(body_of("application/grpc", "", "a gRPC message begins with reserved flags"));
  CHECK(body_of("text/plain", "", ""));
}

TEST_CASE("text: a line of detail 1 fits 120 columns, of detail 2 shows the whole URL") {
  test::FlatFlow flow = sample_http();
  flow.url = "https://example.org/" + std::string(300, 'a');
  const std::string line = render_text(flow, {.detail = 1});
  CHECK(columns(line) == 120 + 1);
  CHECK(line.find("aaa… → 200 OK 1.2k 34ms\n") != std::string::npos);
  CHECK(render_text(flow, {.detail = 2}).find(flow.url + " → ") != std::string::npos);

  flow.url.clear();
  for (int i = 0; i < 200; ++i) flow.url += "\xe2\x82\xac";
  const std::string wide = render_text(flow, {.detail = 1});
  CHECK(columns(wide) == 120 + 1);
  CHECK(base::is_utf8(wide));

  flow.method.assign(150, 'M');
  CHECK(render_text(flow, {.detail = 1}).find("\xe2\x82\xac… → 200") != std::string::npos);
}

TEST_CASE("text: colours only when asked for, by class of status") {
  const struct {
    int status;
    const char* coloured;
  } cases[] = {{200, "\x1b[32m200 OK\x1b[0m"},
               {301, "\x1b[36m301 Moved Permanently\x1b[0m"},
               {404, "\x1b[33m404 Not Found\x1b[0m"},
               {500, "\x1b[31m500 Internal Server Error\x1b[0m"}};
  test::FlatFlow flow = sample_http();
  for (const auto& c : cases) {
    flow.status = c.status;
    CHECK(render_text(flow, {.detail = 1, .colour = true}).find(c.coloured) != std::string::npos);
    CHECK(render_text(flow, {.detail = 4, .colour = false}).find('\x1b') == std::string::npos);
  }
  CHECK(render_text(flow, {.detail = 1, .colour = true})
            .starts_with("\x1b[2m09:26:50\x1b[0m \x1b[1mcurl\x1b[0m\x1b[2m[1234] \x1b[0m"));
}

TEST_CASE("text: no foreign byte reaches the terminal raw") {
  const std::string evil = "\x1b[2J\r\n\x07\xc2\x9b\x7f\xff\xfe";
  test::FlatFlow flow = sample_http();
  auto process = std::make_shared<procmap::ProcessFacts>(*flow.process);
  process->name = process->exe = process->user = evil;
  process->argv = {evil, evil};
  flow.process = std::move(process);
  flow.host = flow.sni = flow.method = flow.url = flow.http_version = flow.reason = flow.error =
      evil;
  flow.tls = std::make_shared<const flow::TlsFacts>(flow::TlsFacts{evil, evil, evil, evil});
  flow.upstream_tls = flow.tls;
  flow.request_headers.add(evil, evil);
  flow.response_headers.add("content-encoding", evil);
  flow.request_body = flow.response_body = evil;
  flow.request_bytes.reset();
  flow.response_bytes.reset();

  for (const auto type :
       {test::FlatFlow::Type::http, test::FlatFlow::Type::tcp, test::FlatFlow::Type::tls_error,
        test::FlatFlow::Type::pass, test::FlatFlow::Type::block}) {
    flow.type = type;
    std::size_t lines_of_detail_2 = 0;
    for (int detail = 1; detail <= 4; ++detail) {
      const std::string text = render_text(flow, {.detail = detail});
      CAPTURE(text);
      CHECK(base::is_utf8(text));
      CHECK(text.find("\xc2\x9b") == std::string::npos);
      CHECK(std::none_of(text.begin(), text.end(),
                         [](char c) { return (c >= 0 && c < 0x20 && c != '\n') || c == 0x7f; }));
      const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
      if (detail == 1 && !text.empty()) CHECK(lines == 1);
      if (detail == 2) lines_of_detail_2 = lines;
      if (detail == 2) CHECK(lines == 3 + (type == test::FlatFlow::Type::http ? 4 : 0));
      if (type != test::FlatFlow::Type::http && detail > 2) CHECK(lines == lines_of_detail_2);
    }
  }
}

TEST_CASE(
    "text: messages are a line each, what they say at its end, more below it when asked for") {
  using Kind = http::Message::Kind;
  test::FlatFlow flow = sample_message(test::FlatFlow::Type::websocket, Kind::text, "hello\x1b");
  CHECK(render_text(flow, {1}) ==
        "09:26:50 curl[1234] websocket https://example.org/chat ↓ text 6b hello\\x1b\n");
  CHECK(render_text(flow, {0}) == "");
  CHECK(render_text(flow, {3}) ==
        "09:26:50 curl[1234] websocket https://example.org/chat ↓ text 6b\n"
        "    < 00000000  68 65 6c 6c 6f 1b" +
            std::string(32, ' ') + "hello.\n");
  flow.message->what.payload.clear();
  CHECK(render_text(flow, {1}) ==
        "09:26:50 curl[1234] websocket https://example.org/chat ↓ text 6b\n");
  flow = sample_message(test::FlatFlow::Type::websocket, Kind::text, std::string(200, 'x'));
  flow.message->from_server = false;
  flow.message->what.compressed = true;
  flow.message->what.wire_bytes = 10;
  const auto line = render_text(flow, {1});
  CHECK(line.starts_with(
      "09:26:50 curl[1234] websocket https://example.org/chat ↑ text 200b (10b on the wire) "
      "xxxxx"));
  CHECK(columns(line) <= 122);
  CHECK(
      render_text(flow, {3}).ends_with("(10b on the wire)\n    > " + std::string(200, 'x') + "\n"));
  flow.message->what.bytes.reset();
  flow.message->what.payload.clear();
  CHECK(render_text(flow, {1}) ==
        "09:26:50 curl[1234] websocket https://example.org/chat ↑ text 10b (compressed)\n");
  flow = sample_message(test::FlatFlow::Type::websocket, Kind::binary, "bytes");
  CHECK(render_text(flow, {2}) ==
        "09:26:50 curl[1234] websocket https://example.org/chat ↓ binary 5b\n");
  CHECK(render_text(sample_message(test::FlatFlow::Type::websocket, Kind::ping, "p"), {1}) == "");
  CHECK(render_text(sample_message(test::FlatFlow::Type::websocket, Kind::pong, "p"), {2}) ==
        "09:26:50 curl[1234] websocket https://example.org/chat ↓ pong 1b\n");
  flow = sample_message(test::FlatFlow::Type::websocket, Kind::close, "");
  CHECK(render_text(flow, {1}) ==
        "09:26:50 curl[1234] websocket https://example.org/chat ↓ close\n");
  flow.message->what.code = 1000;
  flow.message->what.reason = "bye\n";
  CHECK(render_text(flow, {3}) ==
        "09:26:50 curl[1234] websocket https://example.org/chat ↓ close 1000 bye\\x0a\n");
  flow = sample_message(test::FlatFlow::Type::sse, Kind::event, "data");
  flow.message->what.name = "add";
  flow.message->what.id = "7";
  CHECK(render_text(flow, {1}) ==
        "09:26:50 curl[1234] sse https://example.org/chat ↓ event add #7 4b data\n");
  CHECK(render_text(sample_message(test::FlatFlow::Type::grpc, Kind::call, "\x08\x01"), {1}) ==
        "09:26:50 curl[1234] grpc https://example.org/chat ↓ call 2b\n");
}

}  // namespace mitm::format
