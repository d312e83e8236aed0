// Packets checked by the rule that a whole with its own checksum sums up to nothing.
#include "base/ip_packet.h"

#include "base/hex.h"
#include "tests/test.h"

namespace {

using base::checksum;

std::string hex(std::string_view text) {
  std::string bytes;
  int high = -1;
  for (const char c : text) {
    if (c == ' ') continue;
    const int digit = base::hex_digit(c);
    if (high >= 0) bytes.push_back(static_cast<char>(high << 4 | digit));
    high = high < 0 ? digit : -1;
  }
  return bytes;
}

base::Endpoint endpoint(const char* address, std::uint16_t port) {
  return {boost::asio::ip::make_address(address), port};
}

}  // namespace

TEST_CASE("ip_packet: the checksum of RFC 1071") {
  CHECK(checksum(hex("0001 f203 f4f5 f6f7")) == 0x220d);
  CHECK(checksum(hex("0001 f203 f4f5 f6")) == checksum(hex("0001 f203 f4f5 f600")));
  CHECK(checksum("") == 0xffff);
  // A header that Linux sent.
  CHECK(checksum(hex("4500 003c 1c46 4000 4006 b1e6 ac10 0a63 ac10 0a0c")) == 0);
}

TEST_CASE("ip_packet: a TCP segment over IPv4, also between mapped addresses") {
  std::string packet = "kept";
  base::append_tcp_packet(packet, {.source = endpoint("::ffff:192.0.2.1", 41000),
                                   .destination = endpoint("198.51.100.7", 443),
                                   .sequence = 0x01020304,
                                   .acknowledgement = 5,
                                   .flags = 0x18,
                                   .window = 0x1000,
                                   .payload = "odd"});
  REQUIRE(packet.size() == 4 + 43);
  packet.erase(0, 4);
  CHECK(packet.substr(0, 10) == hex("4500 002b 0000 4000 4006"));
  CHECK(packet.substr(12, 8) == hex("c0000201 c6336407"));
  CHECK(packet.substr(20, 16) == hex("a028 01bb 01020304 00000005 5018 1000"));
  CHECK(packet.ends_with("odd"));
  CHECK(checksum(packet.substr(0, 20)) == 0);
  CHECK(checksum(packet.substr(12, 8) + hex("0006 0017") + packet.substr(20)) == 0);
}

TEST_CASE("ip_packet: a SYN with options over IPv6, one address of which is IPv4") {
  std::string packet;
  base::append_tcp_packet(packet, {.source = endpoint("192.0.2.1", 1),
                                   .destination = endpoint("2001:db8::2", 2),
                                   .flags = 2,
                                   .options = "\2\4\5\xb4"});
  REQUIRE(packet.size() == 40 + 24);
  CHECK(packet.substr(0, 8) == hex("6000 0000 0018 0640"));
  CHECK(packet.substr(8, 16) == hex("00000000 00000000 0000ffff c0000201"));
  CHECK(packet.substr(52, 2) == hex("6002"));
  CHECK(checksum(packet.substr(8, 32) + hex("0000 0018 0000 0006") + packet.substr(40)) == 0);
}

TEST_CASE("ip_packet: a datagram over IPv4 and IPv6, its checksum never zero") {
  std::string packet;
  base::append_udp_packet(packet, endpoint("192.0.2.1", 41000), endpoint("198.51.100.7", 53),
                          "odd");
  CHECK(packet.substr(0, 10) == hex("4500 001f 0000 4000 4011"));
  CHECK(packet.substr(20, 6) == hex("a028 0035 000b"));
  CHECK(packet.ends_with("odd"));
  CHECK(checksum(packet.substr(12, 8) + hex("0011 000b") + packet.substr(20)) == 0);
  packet.clear();
  base::append_udp_packet(packet, endpoint("::1", 1), endpoint("2001:db8::2", 2), "even");
  CHECK(packet.substr(0, 8) == hex("6000 0000 000c 1140"));
  CHECK(checksum(packet.substr(8, 32) + hex("0000 000c 0000 0011") + packet.substr(40)) == 0);
  // These two bytes make the sum of everything 0xffff.
  packet.clear();
  base::append_udp_packet(packet, endpoint("0.0.0.0", 1), endpoint("0.0.0.0", 2), hex("ffd7"));
  CHECK(packet.substr(26, 2) == hex("ffff"));
}

TEST_CASE("ip_packet: an IPv4 header in front of something else than TCP") {
  std::string packet;
  base::append_ipv4_header(packet, boost::asio::ip::make_address_v4("192.0.2.1"),
                           boost::asio::ip::make_address_v4("192.0.2.2"), base::kProtocolIcmp, 8);
  CHECK(packet.size() == 20);
  CHECK(packet.substr(2, 2) == hex("001c"));
  CHECK(packet[9] == 1);
  CHECK(checksum(packet) == 0);
}
