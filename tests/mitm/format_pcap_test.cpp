#include "tests/mitm/packet_file.h"

namespace mitm::format {

using flow::Direction;

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

  const std::string output = output_of(fmt::format("tcpdump -nn -vv -r {}", capture.path()));
  CAPTURE(output);
  std::size_t correct = 0;
  for (std::size_t at = 0; (at = output.find("(correct)", at)) != std::string::npos; ++at)
    ++correct;
  CHECK(correct == packets);
  CHECK(output.find("incorrect") == std::string::npos);
  CHECK(output.find("bad") == std::string::npos);
  CHECK(output.find("truncated") == std::string::npos);
}

}  // namespace mitm::format
