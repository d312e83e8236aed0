// Packets as bytes, their checksums checked by the rule that a whole with its own checksum sums up
// to nothing; one of them compared with what Linux sent (tcpdump -x).
#include "divert/packet/rewrite.h"

#include "base/ip_packet.h"
#include "divert/packet/packet.h"
#include "tests/test.h"

namespace {

std::string hex(std::string_view text) {
  std::string bytes;
  int high = -1;
  for (const char c : text) {
    if (c == ' ') continue;
    const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
    if (high >= 0) bytes.push_back(static_cast<char>(high << 4 | digit));
    high = high < 0 ? digit : -1;
  }
  return bytes;
}

// 192.0.2.1:41000 -> 198.51.100.7:443, SYN, sequence 0x01020304, header checksum as it should be
std::string syn() {
  std::string packet =
      hex("4500 0028 1234 4000 4006 0000 c0000201 "
          "c6336407 a028 01bb 01020304 00000000 5002 ffff 0000 0000");
  const auto sum = base::checksum(std::string_view(packet).substr(0, 20));
  packet[10] = static_cast<char>(sum >> 8);
  packet[11] = static_cast<char>(sum & 0xff);
  return packet;
}

// Over the pseudo-header and the segment behind the 20 bytes of IP; 0: right.
std::uint16_t tcp_checksum(const std::string& packet) {
  const std::string tcp = packet.substr(20);
  std::string pseudo =
      packet.substr(12, 8) + std::string("\0\6", 2) + '\0' + static_cast<char>(tcp.size());
  return base::checksum(pseudo + tcp);
}

}  // namespace

TEST_CASE("rewrite: the type of service changes, and the checksum with it, whatever it was") {
  for (unsigned before = 0; before < 256; ++before) {
    for (const unsigned after : {0U, 4U, 8U, 0xffU}) {
      std::string packet = syn();
      REQUIRE(divert::set_tos(packet, static_cast<std::uint8_t>(before)));
      REQUIRE(base::checksum(std::string_view(packet).substr(0, 20)) == 0);
      REQUIRE(divert::set_tos(packet, static_cast<std::uint8_t>(after)));
      CHECK(base::checksum(std::string_view(packet).substr(0, 20)) == 0);
      CHECK(static_cast<std::uint8_t>(packet[1]) == after);
      CHECK(packet.substr(2, 8) == syn().substr(2, 8));
      CHECK(packet.substr(12) == syn().substr(12));
    }
  }
}

TEST_CASE("rewrite: what is no IPv4 packet stays as it is") {
  for (std::string packet : {std::string(), std::string(19, 'E'), hex("60") + std::string(60, '\0'),
                             hex("44") + std::string(60, '\0')}) {
    const std::string before = packet;
    CHECK_FALSE(divert::set_tos(packet, 8));
    CHECK(packet == before);
    CHECK(divert::reset_for(packet).empty());
    CHECK(divert::unreachable_for(packet, 1).empty());
  }
}

TEST_CASE("rewrite: a SYN is refused as its destination would") {
  const std::string reset = divert::reset_for(syn());
  REQUIRE(reset.size() == 40);
  CHECK(base::checksum(std::string_view(reset).substr(0, 20)) == 0);
  CHECK(tcp_checksum(reset) == 0);
  const auto head = divert::parse_packet(reset);
  REQUIRE(head);
  CHECK(base::to_string(head->key.source) == "198.51.100.7:443");
  CHECK(base::to_string(head->key.destination) == "192.0.2.1:41000");
  CHECK(head->flags == 0x14);
  CHECK(head->sequence == 0);
  CHECK(reset.substr(28, 4) == hex("01020305"));
}

TEST_CASE("rewrite: sequence numbers wrap") {
  std::string packet = syn();
  packet.replace(24, 4, hex("ffffffff"));
  CHECK(divert::reset_for(packet).substr(28, 4) == hex("00000000"));
}

TEST_CASE("rewrite: nothing but a SYN is answered with a reset") {
  for (const char flags : {0x12, 0x10, 0x04, 0x06, 0x00}) {
    std::string packet = syn();
    packet[33] = flags;
    CHECK(divert::reset_for(packet).empty());
  }
  for (std::size_t size = 0; size < 34; ++size)
    CHECK(divert::reset_for(syn().substr(0, size)).empty());
}

TEST_CASE("rewrite: an ICMP error quotes what it is about") {
  const std::string error = divert::unreachable_for(syn(), 1);
  REQUIRE(error.size() == 20 + 8 + 28);
  CHECK(base::checksum(std::string_view(error).substr(0, 20)) == 0);
  CHECK(base::checksum(std::string_view(error).substr(20)) == 0);
  CHECK(error.substr(9, 1) == "\1");
  CHECK(error.substr(12, 8) == hex("c6336407 c0000201"));
  CHECK(error.substr(20, 2) == "\3\1");
  CHECK(error.substr(28) == syn().substr(0, 28));
  for (std::size_t size = 0; size < 28; ++size)
    CHECK(divert::unreachable_for(syn().substr(0, size), 1).empty());
}
