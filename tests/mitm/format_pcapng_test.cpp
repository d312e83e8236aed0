// Processes, names and HTTP/2 in the recorded packets, byte by byte and as Wireshark shows them.
#include <fmt/ranges.h>

#include "tests/mitm/packet_file.h"

namespace mitm::format {
namespace {

using flow::Direction;

const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const std::string kSettings{"\0\0\0\4\0\0\0\0\0", 9};
/// HEADERS of stream 1: ":method: GET", ":scheme: https", ":path: /a".
const std::string kRequest{"\0\0\6\1\5\0\0\0\1\x82\x87\x04\x02/a", 15};
/// HEADERS of stream 1: ":status: 200".
const std::string kResponse{"\0\0\1\1\5\0\0\0\1\x88", 10};

flow::Data of_process(std::uint64_t conn, std::shared_ptr<const procmap::ProcessFacts> process) {
  auto data = event(Direction::request, 0, "x", conn);
  data.process = std::move(process);
  return data;
}

flow::DnsFlow answer(std::string name, std::vector<flow::DnsFlow::Answer> answers) {
  flow::DnsFlow dns;
  dns.name = std::move(name);
  dns.answers = std::move(answers);
  return dns;
}

/// The ports of the server in the packets.
std::set<std::string> servers_in(const std::vector<Packet>& packets) {
  std::set<std::string> servers;
  for (const Packet& packet : packets) {
    if (packet.source != kClient) servers.insert(packet.source);
  }
  return servers;
}

}  // namespace

TEST_CASE("pcap: every packet names its process") {
  Capture capture;
  auto odd = std::make_shared<procmap::ProcessFacts>();
  odd->id = {77, 1};
  odd->name = "a\xff\x1b";
  odd->exe = "/usr/bin/a";
  auto same_number = std::make_shared<procmap::ProcessFacts>(*sample_process());
  same_number->id.start_ticks += 1;
  auto same_process = std::make_shared<procmap::ProcessFacts>(*sample_process());
  same_process->image = 2;
  same_process->name = "wget";
  capture.write(of_process(1, sample_process()));
  capture.write(of_process(2, nullptr));
  capture.write(of_process(3, odd));
  capture.write(of_process(4, sample_process()));
  capture.write(of_process(5, same_number));
  capture.write(of_process(6, same_process));
  const Blocks blocks = capture.blocks();
  REQUIRE(blocks.interfaces.size() == 5);
  CHECK(blocks.interfaces[0].name == "unknown");
  CHECK(blocks.interfaces[1].name == "curl[1234]");
  CHECK(blocks.interfaces[1].description == "curl -s https://example.org/path");
  CHECK(blocks.interfaces[2].name == "a\xef\xbf\xbd\\x1b[77]");
  CHECK(blocks.interfaces[2].description == "/usr/bin/a");
  CHECK(blocks.interfaces[3].name == "curl[1234]");
  CHECK(blocks.interfaces[4].name == "wget[1234]");
  const std::vector<std::uint32_t> expected{1, 0, 2, 1, 3, 4};
  const std::vector<std::uint32_t> pids{1234, 0, 77, 1234, 1234, 1234};
  REQUIRE(blocks.packets.size() == 5 * expected.size());
  for (std::size_t i = 0; i < blocks.packets.size(); ++i) {
    CHECK(blocks.packets[i].interface == expected[i / 5]);
    CHECK(blocks.packets[i].pid == pids[i / 5]);
    const bool first = i % 5 == 0 && i != 5;
    CHECK(blocks.packets[i].comment.empty() != first);
  }
  CHECK(blocks.packets[0].comment == "curl[1234], user alice: curl -s https://example.org/path");
  CHECK(blocks.packets[10].comment == "a\xef\xbf\xbd\\x1b[77]: /usr/bin/a");
}

TEST_CASE("pcap: a process is described once, in Wireshark's block") {
  Capture capture;
  capture.write(of_process(1, sample_process()));
  capture.write(of_process(2, sample_process()));
  const Blocks blocks = capture.blocks();
  REQUIRE(blocks.processes.size() == 1);
  const std::string_view block = blocks.processes[0];
  CHECK(native<std::uint32_t>(block, 0) == 32622);
  CHECK(native<std::uint32_t>(block, 4) == 3);
  const auto size = native<std::uint32_t>(block, 8);
  CHECK(block.size() == 12 + (size + 3) / 4 * 4);
  CHECK(native<std::uint32_t>(block, 12) == 1234);
  auto options = options_of(block.substr(16, size - 4));
  CHECK(options.size() == 7);
  CHECK(options[2] == "curl");
  CHECK(options[3] == "/usr/bin/curl");
  CHECK(options[4] == std::string("curl\0-s\0https://example.org/path\0", 33));
  CHECK(native<std::uint32_t>(options[5], 0) == 1000);
  CHECK(native<std::uint32_t>(options[6], 0) == 0);
  CHECK(options[7] == "alice");
  CHECK(std::chrono::nanoseconds(native<std::uint64_t>(options[9], 0)) ==
        (sample_time() - std::chrono::seconds{1}).time_since_epoch());
}

TEST_CASE("pcap: times are in nanoseconds") {
  Capture capture;
  capture.write(event(Direction::request, 0, "x"));
  const Blocks blocks = capture.blocks();
  CHECK(std::chrono::nanoseconds(blocks.packets.at(0).nanoseconds) ==
        sample_time().time_since_epoch());
}

TEST_CASE("pcap: addresses get the names by which DNS gave them, once each") {
  Capture capture;
  const auto one = answer("one.test.", {{"one.test", "CNAME", 60, "alias.test"},
                                        {"alias.test", "A", 60, "192.0.2.2"},
                                        {"alias.test", "AAAA", 60, "2001:db8::2"},
                                        {"alias.test", "A", 60, "no address"}});
  capture.write(one);
  capture.write(one);
  capture.write(answer("two.test", {{"two.test", "A", 60, "192.0.2.2"}}));
  capture.write(answer("none.test", {}));
  const Blocks blocks = capture.blocks();
  REQUIRE(blocks.names.size() == 2);
  const std::string first(
      "\x01\0\x0d\0\xc0\0\x02\x02one.test\0\0\0\0"
      "\x02\0\x19\0\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02one.test\0\0\0\0"
      "\0\0\0\0",
      20 + 32 + 4);
  CHECK(blocks.names[0] == first);
  CHECK(blocks.names[1] == std::string("\x01\0\x0d\0\xc0\0\x02\x02two.test\0\0\0\0\0\0\0\0", 24));
}

TEST_CASE("pcap: HTTP/2 is written on a port where Wireshark looks for it") {
  for (const char* const server : {"93.184.216.34:443", "93.184.216.34:8443"}) {
    Capture capture;
    capture.write(event(Direction::request, 0, kPreface, 1, kClient, server));
    CHECK(servers_in(capture.packets()) == std::set<std::string>{"93.184.216.34:80"});
    const std::string port = std::string(server).substr(14);
    CHECK(capture.blocks().packets.at(0).comment ==
          fmt::format("server port {} (80 here, where Wireshark looks for HTTP/2)", port));
  }
  for (const auto& [first, server] : {std::pair{kPreface, "93.184.216.34:8080"},
                                      std::pair{std::string("GET / HTTP/1.1\r\n"), kServer},
                                      std::pair{std::string("PRI * HTTP/2.1\r\n"), kServer}}) {
    Capture capture;
    capture.write(event(Direction::request, 0, first, 1, kClient, server));
    CHECK(servers_in(capture.packets()) == std::set<std::string>{server});
    CHECK(capture.blocks().packets.at(0).comment.empty());
  }
}

TEST_CASE("pcap: what comes before it is known whether it is HTTP/2 is held") {
  const std::string server = "93.184.216.34:80";
  Capture capture;
  auto late = event(Direction::request, 0, kPreface.substr(0, 10));
  late.time += std::chrono::seconds{1};
  capture.write(event(Direction::response, 0, kSettings));
  capture.write(late);
  CHECK(capture.packets().empty());
  late.offset = 10;
  late.bytes = kPreface.substr(10) + kSettings;
  capture.write(late);
  capture.write(event(Direction::response, 9, kResponse));
  const auto packets = capture.packets();
  REQUIRE(packets.size() == 3 + 3 * 2);
  CHECK(packets[3].payload == kPreface + kSettings);
  CHECK(packets[5].payload == kSettings);
  CHECK(packets[5].time.tv_sec == packets[3].time.tv_sec);
  CHECK(packets[7].payload == kResponse);
  CHECK(stream_of(packets, server).size() == 2);
}

TEST_CASE("pcap: what is not HTTP/2 after all is written as it came") {
  SUBCASE("the client says something else") {
    Capture capture;
    capture.write(event(Direction::response, 0, kSettings));
    capture.write(event(Direction::request, 0, "hello"));
    const auto packets = capture.packets();
    REQUIRE(packets.size() == 3 + 2 * 2);
    CHECK(packets[3].payload == kSettings);
    CHECK(packets[5].payload == "hello");
    CHECK(servers_in(packets) == std::set<std::string>{kServer});
  }
  SUBCASE("one side ends") {
    Capture capture;
    capture.write(event(Direction::request, 0, "PRI"));
    CHECK(capture.packets().empty());
    capture.write(event(Direction::request, 3, ""));
    const auto packets = capture.packets();
    REQUIRE(packets.size() == 3 + 2 * 2);
    CHECK(packets[3].payload == "PRI");
  }
  SUBCASE("the server goes on and on") {
    Capture capture;
    capture.write(event(Direction::response, 0, kSettings));
    capture.write(event(Direction::response, 9, std::string(16384, 'x')));
    CHECK(capture.packets().size() == 3 + 2 * 2);
  }
  SUBCASE("too many at once") {
    Capture capture;
    for (std::uint64_t conn = 0; conn < 1025; ++conn)
      capture.write(event(Direction::request, 0, "PRI", conn));
    CHECK(capture.packets().size() == 5);
    capture.write(event(Direction::request, 3, "X", 0));
    CHECK(capture.packets().size() == 12);
    capture.write(event(Direction::request, 0, "P", 2000));
    CHECK(capture.packets().size() == 12);
  }
}

TEST_CASE("pcap: tshark shows HTTP/2, HTTP/1 and WebSocket without a hint, on any port") {
  Capture capture;
  capture.write(event(Direction::response, 0, kSettings));
  capture.write(event(Direction::request, 0, kPreface + kSettings + kRequest));
  capture.write(event(Direction::response, 9, kResponse));
  for (const char* const server : {"93.184.216.34:443", "93.184.216.34:12345"}) {
    const std::uint64_t conn = server == std::string_view(kServer) ? 2 : 3;
    const auto write = [&](Direction direction, std::uint64_t at, std::string bytes) {
      auto data = event(direction, at, std::move(bytes), conn, "10.0.0.1:41001", server);
      data.process = sample_process();
      capture.write(data);
    };
    const std::string request =
        "GET /chat HTTP/1.1\r\nHost: one.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    const std::string response =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    write(Direction::request, 0, request);
    write(Direction::response, 0, response);
    write(Direction::request, request.size(), std::string("\x81\x82\0\0\0\0hi", 8));
    write(Direction::response, response.size(), "\x81\x02yo");
  }
  (void)capture.packets();
  CHECK(shown_by_tshark(capture.path(), "tcp.len > 0",
                        {"frame.interface_name", "_ws.col.Protocol", "http2.type",
                         "http2.headers.path", "http2.headers.status", "http.request.uri",
                         "http.response.code", "websocket.payload.text"}) ==
        "unknown\tHTTP2\t4,1\t/a\t\t\t\t\n"
        "unknown\tHTTP2\t4\t\t\t\t\t\n"
        "unknown\tHTTP2\t1\t\t200\t\t\t\n"
        "curl[1234]\tHTTP\t\t\t\t/chat\t\t\n"
        "curl[1234]\tHTTP\t\t\t\t\t101\t\n"
        "curl[1234]\tWebSocket\t\t\t\t\t\thi\n"
        "curl[1234]\tWebSocket\t\t\t\t\t\tyo\n"
        "curl[1234]\tHTTP\t\t\t\t/chat\t\t\n"
        "curl[1234]\tHTTP\t\t\t\t\t101\t\n"
        "curl[1234]\tWebSocket\t\t\t\t\t\thi\n"
        "curl[1234]\tWebSocket\t\t\t\t\t\tyo\n");
}

TEST_CASE("pcap: what a tunnel carries is a conversation of its own") {
  const std::string server = "93.184.216.34:3128";
  const std::string connect = "CONNECT one.test:443 HTTP/1.1\r\nHost: one.test:443\r\n\r\n";
  const std::string refused =
      "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
  const std::string opened = "HTTP/1.1 200 OK\r\n\r\n";
  const std::string request = "GET /a HTTP/1.1\r\nHost: one.test\r\n\r\n";
  const std::string response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
  for (const bool http2 : {false, true}) {
    Capture capture;
    std::uint64_t said[2] = {0, 0};
    const auto write = [&](Direction direction, const std::string& bytes) {
      std::uint64_t& at = said[static_cast<int>(direction)];
      capture.write(event(direction, at, bytes, 1, kClient, server.c_str()));
      at += bytes.size();
    };
    write(Direction::request, connect);
    write(Direction::response, refused);
    write(Direction::request, connect);
    write(Direction::response, opened);
    write(Direction::request, http2 ? kPreface + kSettings + kRequest : request);
    write(Direction::response, http2 ? kSettings + kResponse : response);
    write(Direction::request, "");
    write(Direction::response, "");
    (void)capture.packets();
    CHECK(shown_by_tshark(capture.path(), "tcp.len > 0",
                          {"tcp.stream", "tcp.srcport", "http.request.uri", "http.response.code",
                           "http2.headers.path", "http2.headers.status"}) ==
          std::string("0\t41000\tone.test:443\t\t\t\n0\t3128\t\t407\t\t\n"
                      "0\t41000\tone.test:443\t\t\t\n0\t3128\t\t200\t\t\n") +
              (http2 ? "1\t41000\t\t\t/a\t\n1\t3128\t\t\t\t200\n"
                     : "1\t41000\t/a\t\t\t\n1\t3128\t\t200\t\t\n"));
  }
}

TEST_CASE("pcap: tshark shows the names") {
  Capture capture;
  capture.write(answer("one.test", {{"one.test", "A", 60, "93.184.216.34"}}));
  capture.write(event(Direction::request, 0, "GET / HTTP/1.1\r\n\r\n"));
  (void)capture.packets();
  CHECK(shown_by_tshark(capture.path(), "tcp.len > 0", {"ip.dst_host"}, "-N n") == "one.test\n");
}

}  // namespace mitm::format
