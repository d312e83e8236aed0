// Flows as packets: what each side said is there again, and Wireshark shows it.
#include "mitm/format/pcapng_file.h"
#include "tests/mitm/packet_file.h"
#include "tests/mitm/sample_flow_files.h"

namespace mitm::format {
namespace {

/// A file of flows.
class Written {
 public:
  explicit Written(const std::vector<flow::Flow>& flows) {
    const base::UniqueFd fd{::mkstemp(path_)};
    REQUIRE(fd);
    bytes_ = write_all(*make_pcapng_writer(), flows);
    REQUIRE(base::write_all(fd.get(), bytes_));
  }
  Written(const Written&) = delete;
  Written& operator=(const Written&) = delete;
  ~Written() { std::filesystem::remove(path_); }

  [[nodiscard]] const char* path() const { return path_; }
  [[nodiscard]] std::vector<Packet> packets() const { return read_back(path_); }
  [[nodiscard]] Blocks blocks() const { return blocks_of(bytes_); }
  [[nodiscard]] std::string shown(std::string_view show,
                                  std::initializer_list<const char*> fields) const {
    return shown_by_tshark(path_, show, fields);
  }
  /// All that one side says.
  [[nodiscard]] std::string said_by(const std::string& source) const {
    std::string said;
    for (const auto& [offset, piece] : stream_of(packets(), source)) said += piece;
    return said;
  }

 private:
  char path_[32] = "/tmp/osproxy-pcapng-XXXXXX";
  std::string bytes_;
};

flow::Flow of(std::shared_ptr<flow::HttpFlow> http) {
  flow::Flow flow;
  flow.record = std::move(http);
  return flow;
}

flow::Body cut_body(std::string_view bytes) {
  flow::BodyRecorder recorder;
  recorder.append(bytes, bytes.size());
  recorder.cut();
  return recorder.body();
}

/// A GET on connection 3 that is answered with `body`, of `length` bytes.
std::shared_ptr<flow::HttpFlow> answered(flow::Body body, std::uint64_t length) {
  auto http = copy_http(sample_flow("full"));
  http->request.method = "GET";
  http->request.body = {};
  http->request.body_bytes = 0;
  http->response.fields.add("Content-Length", std::to_string(length));
  http->response.body = std::move(body);
  http->response.body_bytes = length;
  return http;
}

}  // namespace

TEST_CASE("pcapng: HTTP/1 is said as it stood") {
  const Written file({sample_flow("full")});
  CHECK(file.said_by(kClient) ==
        "POST /path?q=1 HTTP/1.1\r\nHost: example.org\r\nX-Twice: one\r\nx-twice: \r\n"
        "Content-Type: application/octet-stream\r\n\r\n" +
            std::string("\0\xff@\r\n binary", 12));
  CHECK(file.said_by(kServer) == "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello\n");
  const auto packets = file.packets();
  CHECK(packets.back().time.tv_usec == 123456 + 34001);
  // Without a length, the end of the connection ends the body.
  CHECK((packets[packets.size() - 2].flags & kFin) != 0);
  CHECK(file.shown("http.response", {"frame.interface_name", "http.file_data"}) ==
        "curl[1234]\thello\\n\n");
  CHECK(file.blocks().packets[0].pid == 1234);
  CHECK(file.blocks().processes.size() == 1);
  CHECK(file.blocks().names.size() == 1);
}

TEST_CASE("pcapng: bodies in chunks, trailers, interim responses") {
  auto http = copy_http(sample_flow("full"));
  http->request.fields = {};
  http->request.fields.add("Transfer-Encoding", "gzip, Chunked");
  http->response.interim.push_back({100, {}, std::chrono::microseconds{5}});
  http->response.fields.add("Transfer-Encoding", "chunked");
  http->response.body = {};
  http->response.body_bytes = 0;
  const Written file({of(http)});
  CHECK(file.said_by(kClient) ==
        "POST /path?q=1 HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n"
        "c\r\n" +
            std::string("\0\xff@\r\n binary", 12) + "\r\n0\r\nX-Sum: 12\r\n\r\n");
  CHECK(file.said_by(kServer) ==
        "HTTP/1.1 100 \r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\nServer-Timing: db;dur=5\r\n\r\n");
}

TEST_CASE("pcapng: what of a body was not recorded is missing, what follows is in its place") {
  for (const std::uint64_t length : {60ULL, 16384ULL, 50'000ULL, 5'000'000'000ULL}) {
    for (const std::size_t recorded : {0, 50, 16'000, 17'000, 49'999}) {
      if (recorded > length) continue;
      CAPTURE(length);
      CAPTURE(recorded);
      const std::string body = random_bytes(recorded, 1);
      const Written file(
          {of(answered(cut_body(body), length)), of(answered(flow::Body("second"), 6))});
      CHECK(file.shown("http.response", {"http.content_length", "http.response.code"}) ==
            fmt::format("{}\t200\n6\t200\n", length));
      const Blocks blocks = file.blocks();
      const bool any = std::ranges::any_of(
          blocks.packets, [](const Framing& packet) { return packet.captured < packet.length; });
      CHECK(any);
      std::string said;
      for (const Framing& packet : blocks.packets) {
        if (number(packet.bytes, 20, 2) == 443) said += packet.bytes.substr(40);
      }
      CHECK(said.find("\r\n\r\n" + body + "HTTP/1.1") != std::string::npos);
    }
  }
}

TEST_CASE("pcapng: a body in chunks of which something is missing") {
  auto http = answered(cut_body("abc"), 100'000);
  http->response.fields = {};
  http->response.fields.add("Transfer-Encoding", "chunked");
  const Written file({of(http), of(answered(flow::Body("second"), 6))});
  CHECK(file.shown("http.response", {"http.transfer_encoding", "http.content_length"}) ==
        "chunked\t\n\t6\n");
}

TEST_CASE("pcapng: HTTP/2 has a stream for each flow of a connection") {
  auto second = copy_http(sample_flow("http2"));
  second->request.method = "POST";
  second->request.body = flow::Body(std::string(20'000, 'r'));
  second->request.fields.add("X-Long", std::string(40'000, 'x'));
  second->response.status = 404;
  second->response.trailers.add("grpc-status", "5");
  const Written file({sample_flow("http2"), of(second)});
  CHECK(file.shown("http2", {"tcp.srcport", "http2.type", "http2.streamid", "http2.flags"}) ==
        "41000\t4,1\t0,1\t0x00,0x05\n"
        "80\t4\t0\t0x00\n"
        "80\t1\t1\t0x04\n"
        "80\t0\t1\t0x01\n"
        "41000\t1\t3\t0x00\n"
        "41000\t9,9\t3,3\t0x00,0x04\n"
        "41000\t0,0\t3,3\t0x00,0x01\n"
        "80\t1\t3\t0x04\n"
        "80\t0\t3\t0x00\n"
        "80\t1\t3\t0x05\n");
  CHECK(file.shown("http2.headers.path", {"http2.headers.method", "http2.headers.path",
                                          "http2.headers.authority", "http2.headers.user_agent"}) ==
        "GET\t/path?q=1\texample.org\tcurl/8\n"
        "POST\t/path?q=1\texample.org\tcurl/8\n");
  CHECK(file.shown("http2.headers.status", {"http2.headers.status"}) == "200\n404\n");
  CHECK(file.shown("_ws.malformed", {"frame.number"}).empty());
}

TEST_CASE("pcapng: a flow of HTTP/2 that goes on does not end its stream") {
  auto http = copy_http(sample_flow("http2"));
  http->response.ended.reset();
  http->response.body = {};
  const Written file({of(http)});
  CHECK(file.shown("http2.headers.status", {"http2.flags"}) == "0x04\n");
}

TEST_CASE("pcapng: WebSocket") {
  flow::Flow websocket = sample_flow("websocket");
  auto http = copy_http(websocket);
  http->request.fields.add("Connection", "Upgrade");
  http->request.fields.add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
  http->response.fields = {};
  http->response.fields.add("Upgrade", "websocket");
  http->response.fields.add("Connection", "Upgrade");
  websocket.record = http;
  for (const std::size_t size : {200, 70'000}) {
    auto longer = std::make_shared<flow::StreamMessage>(*websocket.messages[1]);
    longer->what.payload = std::string(size, 'z');
    longer->what.bytes = size;
    websocket.messages.push_back(std::move(longer));
  }
  const Written file({websocket});
  CHECK(file.shown("websocket",
                   {"websocket.opcode", "websocket.mask", "websocket.payload_length",
                    "websocket.payload_length_ext_16", "websocket.payload_length_ext_64"}) ==
        "1\t1\t6\t\t\n2\t0\t3\t\t\n8\t1\t12\t\t\n2\t0\t126\t200\t\n2\t0\t127\t\t70000\n");
  CHECK(file.shown("websocket.payload.text", {"websocket.payload.text"}) == "gr\xc3\xbc\xc3\x9f\n");
  CHECK(file.shown("websocket.payload.close", {"websocket.payload.close.status_code"}) == "1001\n");
}

TEST_CASE("pcapng: raw connections, and one packet for those of which nothing was recorded") {
  const Written file({sample_flow("tcp")});
  CHECK(file.said_by(kClient) == "hello");
  CHECK(file.said_by(kServer) == std::string("o\0k", 3));
  CHECK((file.packets().back().flags & kAck) != 0);
  const std::pair<const char*, const char*> cases[] = {
      {"pass", "; passed, not decrypted: filter curl"},
      {"block", "; blocked: filter curl"},
      {"tls_error", "; TLS failed: unknown certificate authority"}};
  for (const auto& [name, why] : cases) {
    const Written one({sample_flow(name)});
    const auto packets = one.packets();
    REQUIRE(packets.size() == 1);
    CHECK(packets[0].flags == kSyn);
    CHECK(packets[0].source == kClient);
    CHECK(one.blocks().packets[0].comment.ends_with(why));
  }
}

TEST_CASE("pcapng: DNS") {
  flow::Flow answered = sample_flow("dns");
  auto known = std::make_shared<flow::DnsFlow>(*answered.dns());
  known->answers.pop_back();  // its data is not what its type wants
  answered.record = known;
  const Written file({answered, sample_flow("unanswered_dns")});
  CHECK(file.shown("udp", {"udp.dstport", "dns.flags.response", "dns.qry.name", "dns.a", "dns.aaaa",
                           "dns.cname", "dns.mx.mail_exchange", "dns.txt"}) ==
        "53\t0\texample.org\t\t\t\t\t\n"
        "41000\t1\texample.org\t93.184.216.34\t2001:db8::1\twww.example.org\tmail.example.org\t"
        "v=spf1 -all\n"
        "53\t0\texample.org\t\t\t\t\t\n");
  CHECK(file.shown("_ws.malformed || (dns && !dns.qry.name)", {"frame.number"}).empty());
  CHECK(file.blocks().names.size() == 1);

  flow::Flow over_tls = sample_flow("dns");
  auto dns = std::make_shared<flow::DnsFlow>(*over_tls.dns());
  auto connection = copy_connection(over_tls);
  connection->server.port(853);
  dns->connection = connection;
  over_tls.record = dns;
  const Written other({over_tls});
  CHECK(other.shown("dns", {"udp.srcport"}) == "41000\n53\n");
  CHECK(other.blocks().packets[0].comment.ends_with(
      "; server port 853 (53 here, where Wireshark looks for DNS)"));
}

TEST_CASE("pcapng: flows of a connection are one conversation, others are apart") {
  auto other = copy_http(sample_flow("full"));
  auto elsewhere = copy_connection(sample_flow("full"));
  elsewhere->client.port(41001);
  other->connection = elsewhere;
  const auto first = of(answered(flow::Body("one"), 3));
  const Written file({first, of(other), first});
  CHECK(file.shown("http.request", {"tcp.stream"}) == "0\n1\n0\n");
}

TEST_CASE("pcapng: what comes behind the end of a connection is a new conversation") {
  const Written file({sample_flow("full"), sample_flow("full")});
  CHECK(file.shown("http.response", {"tcp.stream"}) == "0\n1\n");
}

TEST_CASE("pcapng: what a tunnel carries is a conversation of its own") {
  auto inside = answered(flow::Body("inside"), 6);
  inside->connection = sample_flow("tunnel").http()->connection;
  const Written file({sample_flow("tunnel"), of(inside)});
  CHECK(file.shown("http", {"tcp.stream", "http.request.method", "http.file_data"}) ==
        "0\tCONNECT\t\n0\t\t\n1\tGET\t\n1\t\tinside\n");
}

TEST_CASE("pcapng: flows without addresses, as files of others have them") {
  auto http = copy_http(sample_flow("full"));
  auto nowhere = std::make_shared<flow::ConnectionRecord>();
  http->connection = nowhere;
  const Written file({of(http)});
  CHECK(file.shown("http.request", {"http.request.uri"}) == "/path?q=1\n");
  CHECK(file.blocks().names.empty());
}

TEST_CASE("pcapng: one of everything is read without a complaint") {
  std::vector<flow::Flow> flows;
  for (SampleFlow& sample : sample_flows()) flows.push_back(std::move(sample.flow));
  const Written file(flows);
  CHECK(file.shown("_ws.malformed && !dns", {"frame.number"}).empty());
  const Blocks blocks = file.blocks();
  CHECK(blocks.interfaces.size() == 2);
  for (const Framing& packet : blocks.packets) CHECK(packet.pid == 1234);
}

}  // namespace mitm::format
