#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include <pcap/pcap.h>
#include <unistd.h>

#include "mitm/format/sinks.h"
#include "mitm/format/synthetic_tcp_stream.h"
#include "tests/mitm/sample_flows.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

using flow::Direction;

constexpr const char* kClient = "10.0.0.1:41000";
constexpr const char* kServer = "93.184.216.34:443";

std::uint32_t number(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (const char c : bytes.substr(at, size)) value = value << 8U | static_cast<unsigned char>(c);
  return value;
}

/// RFC 1071, word by word, written apart from the code under test. 0 for data with a right checksum
/// in it.
std::uint16_t checksum(std::string_view bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2)
    sum += i + 1 < bytes.size() ? number(bytes, i, 2) : number(bytes, i, 1) << 8U;
  while (sum > 0xffff) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}

std::string be16(std::size_t value) {
  return {static_cast<char>(value >> 8U), static_cast<char>(value)};
}

struct Packet {
  timeval time = {};
  std::string source;  ///< "address:port"
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  unsigned flags = 0;
  std::string payload;
};

/// Checks lengths and checksums on the way.
Packet parsed(std::string_view ip) {
  const bool v4 = number(ip, 0, 1) == 0x45;
  REQUIRE((v4 || number(ip, 0, 1) == 0x60));
  const std::size_t address = v4 ? 4 : 16;
  const std::size_t source = v4 ? 12 : 8;
  const std::size_t header = v4 ? 20 : 40;
  const std::string_view tcp = ip.substr(header);
  CHECK(number(ip, v4 ? 2 : 4, 2) == (v4 ? ip.size() : tcp.size()));
  CHECK(number(ip, v4 ? 9 : 6, 1) == 6);
  if (v4) CHECK(checksum(ip.substr(0, 20)) == 0);
  std::string covered(ip.substr(source, 2 * address));
  covered.append(be16(6)).append(be16(tcp.size())).append(tcp);
  CHECK(checksum(covered) == 0);

  Packet packet;
  if (v4) {
    packet.source =
        base::to_string(base::Endpoint(boost::asio::ip::address_v4(number(ip, source, 4)),
                                       static_cast<std::uint16_t>(number(tcp, 0, 2))));
  } else {
    boost::asio::ip::address_v6::bytes_type bytes;
    std::copy_n(ip.begin() + source, bytes.size(), bytes.begin());
    packet.source = base::to_string(base::Endpoint(boost::asio::ip::address_v6(bytes),
                                                   static_cast<std::uint16_t>(number(tcp, 0, 2))));
  }
  packet.seq = number(tcp, 4, 4);
  packet.ack = number(tcp, 8, 4);
  packet.flags = number(tcp, 13, 1);
  packet.payload = tcp.substr(number(tcp, 12, 1) / 16 * 4);
  return packet;
}

std::vector<Packet> read_back(const std::string& path) {
  char message[PCAP_ERRBUF_SIZE] = "";
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> file(pcap_open_offline(path.c_str(), message),
                                                        pcap_close);
  REQUIRE_MESSAGE(file, message);
  CHECK(pcap_datalink(file.get()) == DLT_RAW);
  std::vector<Packet> packets;
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  int status = 0;
  while ((status = pcap_next_ex(file.get(), &header, &bytes)) == 1) {
    CHECK(header->caplen == header->len);
    packets.push_back(parsed({reinterpret_cast<const char*>(bytes), header->caplen}));
    packets.back().time = header->ts;
  }
  CHECK(status == PCAP_ERROR_BREAK);
  return packets;
}

struct Interface {
  std::string name;
  std::string description;
};

struct Framing {
  std::uint32_t interface = 0;
  std::string comment;
};

struct Blocks {
  std::vector<Interface> interfaces;
  std::vector<Framing> packets;
};

/// In this machine's byte order.
template <class Number>
Number native(std::string_view bytes, std::size_t at) {
  Number value;
  REQUIRE(at + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// By code, up to the end of options.
std::map<unsigned, std::string> options_of(std::string_view bytes) {
  std::map<unsigned, std::string> options;
  while (!bytes.empty()) {
    const unsigned code = native<std::uint16_t>(bytes, 0);
    const std::size_t size = native<std::uint16_t>(bytes, 2);
    if (code == 0) {
      CHECK(bytes.size() == 4);
      break;
    }
    options[code] = bytes.substr(4, size);
    bytes.remove_prefix(4 + (size + 3) / 4 * 4);
  }
  return options;
}

/// What libpcap does not tell.
Blocks blocks_of(std::string_view file) {
  Blocks blocks;
  for (bool first = true; !file.empty(); first = false) {
    const auto type = native<std::uint32_t>(file, 0);
    const auto length = native<std::uint32_t>(file, 4);
    REQUIRE(length % 4 == 0);
    REQUIRE(length <= file.size());
    CHECK(native<std::uint32_t>(file, length - 4) == length);
    CHECK(first == (type == 0x0a0d0d0a));
    const std::string_view body = file.substr(8, length - 12);
    if (type == 1) {
      auto options = options_of(body.substr(8));
      blocks.interfaces.push_back({options[2], options[3]});
    } else if (type == 6) {
      const std::size_t size = (native<std::uint32_t>(body, 12) + 3) / 4 * 4;
      const auto interface = native<std::uint32_t>(body, 0);
      CHECK(interface < blocks.interfaces.size());
      blocks.packets.push_back({interface, options_of(body.substr(20 + size))[1]});
    }
    file.remove_prefix(length);
  }
  return blocks;
}

/// A pcapng file made of events.
class Capture {
 public:
  Capture() {
    base::UniqueFd fd{::mkstemp(path_)};
    REQUIRE(fd);
    sink_ = std::move(make_pcap_sink(std::move(fd), "test", [this](std::uint16_t port) {
                        http2_ports.insert(port);
                      }).value());
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() { std::filesystem::remove(path_); }

  void write(const flow::Data& data) {
    REQUIRE(sink_->write(flow::TcpData{std::make_shared<const flow::Data>(data)}));
  }
  std::vector<Packet> packets() {
    REQUIRE(sink_->flush());
    return read_back(path_);
  }
  Blocks blocks() {
    REQUIRE(sink_->flush());
    return blocks_of(base::read_file(path_).value());
  }
  [[nodiscard]] const char* path() const { return path_; }

  std::set<std::uint16_t> http2_ports;

 private:
  char path_[32] = "/tmp/osproxy-pcap-XXXXXX";
  std::unique_ptr<flow::Subscriber> sink_;
};

flow::Data event(Direction direction, std::uint64_t offset, std::string bytes,
                 std::uint64_t conn = 1, const char* client = kClient,
                 const char* server = kServer) {
  flow::Data data;
  data.conn = conn;
  data.client = base::parse_endpoint(client).value();
  data.server = base::parse_endpoint(server).value();
  data.direction = direction;
  data.time = sample_time();
  data.bytes = std::move(bytes);
  data.offset = offset;
  return data;
}

std::string random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

/// Pieces of one side's stream by offset, from packets whose SYN comes first.
std::map<std::uint32_t, std::string> stream_of(const std::vector<Packet>& packets,
                                               const std::string& source) {
  std::map<std::uint32_t, std::string> pieces;
  std::optional<std::uint32_t> first;
  for (const Packet& packet : packets) {
    if (packet.source != source) continue;
    if ((packet.flags & kSyn) != 0) first = packet.seq + 1;
    REQUIRE(first);
    if (!packet.payload.empty()) pieces.emplace(packet.seq - *first, packet.payload);
  }
  return pieces;
}

}  // namespace

TEST_CASE("pcap: handshake, data, acknowledgements and both ends") {
  Capture capture;
  capture.write(event(Direction::request, 0, "ping"));
  capture.write(event(Direction::response, 0, "pong!"));
  capture.write(event(Direction::request, 4, ""));
  capture.write(event(Direction::response, 5, ""));
  const auto packets = capture.packets();
  const std::string client = kClient, server = kServer;
  const struct {
    const std::string& source;
    unsigned flags;
    std::uint32_t seq;  ///< relative, as Wireshark shows them
    std::uint32_t ack;
    const char* payload;
  } expected[] = {
      {client, kSyn, 0, 0, ""}, {server, kSyn | kAck, 0, 1, ""},
      {client, kAck, 1, 1, ""}, {client, kPsh | kAck, 1, 1, "ping"},
      {server, kAck, 1, 5, ""}, {server, kPsh | kAck, 1, 5, "pong!"},
      {client, kAck, 5, 6, ""}, {client, kFin | kAck, 5, 6, ""},
      {server, kAck, 6, 6, ""}, {server, kFin | kAck, 6, 6, ""},
      {client, kAck, 6, 7, ""},
  };
  REQUIRE(packets.size() == std::size(expected));
  const std::uint32_t client_isn = packets[0].seq;
  const std::uint32_t server_isn = packets[1].seq;
  CHECK(packets[0].ack == 0);
  for (std::size_t i = 0; i < packets.size(); ++i) {
    CAPTURE(i);
    const bool from_client = expected[i].source == client;
    CHECK(packets[i].source == expected[i].source);
    CHECK(packets[i].flags == expected[i].flags);
    CHECK(packets[i].seq - (from_client ? client_isn : server_isn) == expected[i].seq);
    if (i > 0) CHECK(packets[i].ack - (from_client ? server_isn : client_isn) == expected[i].ack);
    CHECK(packets[i].payload == expected[i].payload);
    CHECK(packets[i].time.tv_sec == std::chrono::system_clock::to_time_t(sample_time()));
    CHECK(packets[i].time.tv_usec == 123456);
  }
}

TEST_CASE("pcap: streams of any sizes come back byte for byte, IPv4 and IPv6") {
  const struct {
    const char* client;
    const char* server;
    const char* source;
  } cases[] = {{kClient, kServer, kClient},
               {"[2001:db8::2]:41000", "[2001:db8::1]:443", "[2001:db8::2]:41000"},
               {"[::ffff:10.0.0.1]:41000", kServer, kClient}};
  for (const auto& c : cases) {
    CAPTURE(c.client);
    Capture capture;
    std::string sent;
    for (const std::size_t size : {1, 2, 3, 1459, 16383, 16384, 16385, 40000, 70000}) {
      const std::string bytes = random_bytes(size, static_cast<unsigned>(size));
      capture.write(event(Direction::request, sent.size(), bytes, 1, c.client, c.server));
      sent += bytes;
    }
    std::string seen;
    for (const auto& [offset, piece] : stream_of(capture.packets(), c.source)) {
      CHECK(piece.size() <= Conversation::kMaxPayload);
      REQUIRE(offset == seen.size());
      seen += piece;
    }
    CHECK(seen == sent);
  }
}

TEST_CASE("pcap: lost events leave gaps, everything else stays in its place") {
  const std::string sent = random_bytes(200'000, 1);
  std::mt19937 random(2);
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    Capture capture;
    std::map<std::uint32_t, std::string> kept;
    for (std::size_t at = 0; at < sent.size();) {
      const std::string bytes = sent.substr(at, 1 + random() % 9000);
      if (random() % 3 != 0) {
        capture.write(event(Direction::response, at, bytes));
        kept.emplace(at, bytes);
      }
      at += bytes.size();
    }
    if (round % 2 == 0) capture.write(event(Direction::response, sent.size(), ""));
    const auto packets = capture.packets();
    CHECK(stream_of(packets, kServer) == kept);
    if (round % 2 == 0) {
      const Packet& fin = packets[packets.size() - 2];
      CHECK((fin.flags & kFin) != 0);
      CHECK(fin.seq - packets[1].seq - 1 == sent.size());
    }
  }
}

TEST_CASE("pcap: nothing follows the end of a direction") {
  Capture capture;
  capture.write(event(Direction::response, 0, "all"));
  capture.write(event(Direction::response, 3, ""));
  capture.write(event(Direction::response, 3, "more"));
  capture.write(event(Direction::response, 7, ""));
  capture.write(event(Direction::request, 0, "still here"));
  const auto packets = capture.packets();
  const std::string server = kServer;
  bool ended = false;
  for (const Packet& packet : packets) {
    if (packet.source != server) continue;
    if (ended) CHECK(packet.flags == kAck);
    if (ended) CHECK(packet.payload.empty());
    ended = ended || (packet.flags & kFin) != 0;
  }
  CHECK(ended);
  CHECK(stream_of(packets, server).size() == 1);
  CHECK(stream_of(packets, kClient).size() == 1);
}

TEST_CASE("pcap: a stream of more than 4 GiB wraps its sequence numbers") {
  Conversation conversation(1);
  std::vector<Segment> segments;
  const auto before = event(Direction::request, (std::uint64_t{1} << 32U) - 2, "abcd");
  conversation.add(before, segments);
  const auto after = event(Direction::request, (std::uint64_t{1} << 32U) + 2, "ef");
  conversation.add(after, segments);
  const std::uint32_t first = segments[0].seq + 1;
  CHECK(segments[3].seq - first == 0xfffffffe);
  CHECK(segments[5].seq - first == 2);
}

TEST_CASE("pcap: a connection over the same ports is a new conversation") {
  Capture capture;
  for (const std::uint64_t conn : {1, 2}) {
    capture.write(event(Direction::request, 0, "x", conn));
    capture.write(event(Direction::request, 1, "", conn));
    capture.write(event(Direction::response, 0, "", conn));
  }
  std::vector<std::uint32_t> client_syns;
  for (const Packet& packet : capture.packets()) {
    if (packet.flags == kSyn) client_syns.push_back(packet.seq);
  }
  REQUIRE(client_syns.size() == 2);
  CHECK(client_syns[0] != client_syns[1]);
}

TEST_CASE("pcap: every packet names its process") {
  Capture capture;
  const auto of_process = [](std::uint64_t conn,
                             std::shared_ptr<const procmap::ProcessFacts> process) {
    auto data = event(Direction::request, 0, "x", conn);
    data.process = std::move(process);
    return data;
  };
  auto odd = std::make_shared<procmap::ProcessFacts>();
  odd->id = {77, 1};
  odd->name = "a\xff\x1b";
  odd->exe = "/usr/bin/a";
  auto same_number = std::make_shared<procmap::ProcessFacts>(*sample_process());
  same_number->id.start_ticks += 1;
  capture.write(of_process(1, sample_process()));
  capture.write(of_process(2, nullptr));
  capture.write(of_process(3, odd));
  capture.write(of_process(4, sample_process()));
  capture.write(of_process(5, same_number));
  const Blocks blocks = capture.blocks();
  REQUIRE(blocks.interfaces.size() == 4);
  CHECK(blocks.interfaces[0].name == "unknown");
  CHECK(blocks.interfaces[1].name == "curl[1234]");
  CHECK(blocks.interfaces[1].description == "curl -s https://example.org/path");
  CHECK(blocks.interfaces[2].name == "a\xef\xbf\xbd\\x1b[77]");
  CHECK(blocks.interfaces[2].description == "/usr/bin/a");
  CHECK(blocks.interfaces[3].name == "curl[1234]");
  const std::vector<std::uint32_t> expected{1, 0, 2, 1, 3};
  REQUIRE(blocks.packets.size() == 5 * expected.size());
  for (std::size_t i = 0; i < blocks.packets.size(); ++i) {
    CHECK(blocks.packets[i].interface == expected[i / 5]);
    const bool first = i % 5 == 0 && i != 5;
    CHECK(blocks.packets[i].comment.empty() != first);
  }
  CHECK(blocks.packets[0].comment == "curl[1234]: curl -s https://example.org/path");
}

TEST_CASE("pcap: many conversations at once keep their states apart") {
  Capture capture;
  constexpr std::uint64_t kConnections = 300;
  const auto client = [](std::uint64_t conn) { return fmt::format("10.0.0.1:{}", 10'000 + conn); };
  for (std::uint64_t round = 0; round < 5; ++round) {
    for (std::uint64_t conn = 0; conn < kConnections; ++conn) {
      capture.write(event(Direction::request, round * 4, fmt::format("{:04}", conn * 10 + round),
                          conn, client(conn).c_str()));
    }
  }
  const auto packets = capture.packets();
  for (std::uint64_t conn = 0; conn < kConnections; ++conn) {
    const auto pieces = stream_of(packets, client(conn));
    REQUIRE(pieces.size() == 5);
    for (const auto& [offset, piece] : pieces)
      CHECK(piece == fmt::format("{:04}", conn * 10 + offset / 4));
  }
  CHECK(packets.size() == kConnections * (3 + 5 * 2));
}

TEST_CASE("pcap: conversations that never end are forgotten in the end") {
  Capture capture;
  constexpr std::uint64_t kMany = 65'537;
  for (std::uint64_t conn = 0; conn < kMany; ++conn)
    capture.write(event(Direction::request, 0, "x", conn));
  capture.write(event(Direction::request, 1, "y", kMany - 1));
  capture.write(event(Direction::request, 1, "y", 0));
  const auto packets = capture.packets();
  CHECK(packets.size() == kMany * 5 + 2 + 5);
  CHECK(packets[packets.size() - 5].flags == kSyn);
}

TEST_CASE("pcap: tcpdump reads it and finds the checksums correct") {
  Capture capture;
  capture.write(event(Direction::request, 0, "GET / HTTP/1.1\r\n\r\n"));
  capture.write(event(Direction::response, 0, random_bytes(20'001, 3)));
  capture.write(event(Direction::request, 18, ""));
  capture.write(event(Direction::response, 20'001, ""));
  capture.write(event(Direction::request, 0, "six", 2, "[2001:db8::2]:41000", "[2001:db8::1]:80"));
  const auto packets = capture.packets().size();

  const std::string command = fmt::format("tcpdump -nn -vv -r {} 2>&1", capture.path());
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> tcpdump(::popen(command.c_str(), "r"),
                                                                ::pclose);
  REQUIRE(tcpdump);
  std::string output;
  char block[4096];
  while (const std::size_t n = std::fread(block, 1, sizeof block, tcpdump.get()))
    output.append(block, n);
  CAPTURE(output);
  std::size_t correct = 0;
  for (std::size_t at = 0; (at = output.find("(correct)", at)) != std::string::npos; ++at)
    ++correct;
  CHECK(correct == packets);
  CHECK(output.find("incorrect") == std::string::npos);
  CHECK(output.find("bad") == std::string::npos);
  CHECK(output.find("truncated") == std::string::npos);
}

TEST_CASE("pcap: the ports of HTTP/2 are reported, and which of them Wireshark has to be told of") {
  Capture capture;
  capture.write(event(Direction::request, 0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  capture.write(event(Direction::request, 0, "GET / HTTP/1.1\r\n", 2, kClient, "192.0.2.1:444"));
  capture.write(event(Direction::response, 0, "PRI * HTTP/2.0", 3, kClient, "192.0.2.1:445"));
  capture.write(event(Direction::request, 9, "PRI * HTTP/2.0", 4, kClient, "192.0.2.1:446"));
  CHECK(capture.http2_ports == std::set<std::uint16_t>{443});
  CHECK(wireshark_command({443}, "a.pcap") == "wireshark -d tcp.port==443,http a.pcap");
  CHECK(wireshark_command({80, 443, 8080, 8443}, "a.pcap") ==
        "wireshark -d tcp.port==443,http -d tcp.port==8443,http a.pcap");
  CHECK(wireshark_command({80, 8080}, "a.pcap").empty());
  CHECK(wireshark_command({}, "a.pcap").empty());
}

}  // namespace mitm::format
