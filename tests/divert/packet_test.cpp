// Packets as bytes: written by hand from the RFCs.
#include "divert/packet/packet.h"

#include <string>

#include "base/network.h"
#include "tests/test.h"

namespace {

using divert::parse_packet;

std::string hex(std::string_view text) {
  std::string bytes;
  int high = -1;
  for (const char c : text) {
    if (c == ' ') continue;
    const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<char>(high << 4 | digit));
      high = -1;
    }
  }
  return bytes;
}

base::Endpoint at(std::string_view text) {
  return base::parse_endpoint(text).value();
}

// 41000 -> 443, sequence 0x01020304, SYN
const std::string kSyn = hex("a028 01bb 01020304 00000000 a0 02 ffff 0000 0000");
const std::string kUdp = hex("a028 01bb 0010 0000");

std::string ipv4(std::uint8_t protocol, const std::string& payload,
                 std::string_view fragment = "4000", std::string_view options = "") {
  const std::string extra = hex(options);
  std::string head = hex("45 00 0000 0001") + hex(fragment) + hex("40 00 0000 c0000201 c6336407");
  head[0] = static_cast<char>(0x45 + extra.size() / 4);
  head[9] = static_cast<char>(protocol);
  return head + extra + payload;
}

std::string ipv6(std::uint8_t next, const std::string& payload) {
  std::string head =
      hex("60000000 0000 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002");
  head[6] = static_cast<char>(next);
  return head + payload;
}

}  // namespace

TEST_CASE("packet: a SYN over IPv4") {
  const auto head = parse_packet(ipv4(6, kSyn));
  REQUIRE(head);
  CHECK(head->key.source == at("192.0.2.1:41000"));
  CHECK(head->key.destination == at("198.51.100.7:443"));
  CHECK_FALSE(head->key.udp);
  CHECK(head->sequence == 0x01020304);
  CHECK(head->flags == 2);
}

TEST_CASE("packet: IPv4 options are passed over") {
  const auto head = parse_packet(ipv4(6, kSyn, "4000", "07040000 01010100"));
  REQUIRE(head);
  CHECK(head->key.destination == at("198.51.100.7:443"));
}

TEST_CASE("packet: UDP") {
  const auto head = parse_packet(ipv4(17, kUdp));
  REQUIRE(head);
  CHECK(head->key.udp);
  CHECK(head->key.source.port() == 41000);
  CHECK(head->sequence == 0);
}

TEST_CASE("packet: IPv6, alone and behind extension headers") {
  const std::string extensions[] = {
      "",
      hex("06 00 010400000000"),                                         // hop-by-hop
      hex("2b 00 010400000000") + hex("06 01") + std::string(14, '\0'),  // and routing, 16 bytes
      hex("3c 00 010400000000") + hex("33 00 010400000000") + hex("06 01 0000") +
          std::string(8, '\0'),                                // + AH
      hex("2c 00 010400000000") + hex("06 00 0001 00000007"),  // and the first fragment
  };
  for (std::size_t i = 0; i < std::size(extensions); ++i) {
    CAPTURE(i);
    const auto head = parse_packet(ipv6(i == 0 ? 6 : 0, extensions[i] + kSyn));
    REQUIRE(head);
    CHECK(head->key.source == at("[2001:db8::1]:41000"));
    CHECK(head->key.destination == at("[2001:db8::2]:443"));
    CHECK(head->flags == 2);
  }
}

TEST_CASE("packet: later fragments, other protocols and nonsense are none") {
  CHECK_FALSE(parse_packet(ipv4(6, kSyn, "2001")));
  CHECK_FALSE(parse_packet(ipv6(44, hex("06 00 0008 00000007") + kSyn)));
  CHECK_FALSE(parse_packet(ipv4(1, kSyn)));
  CHECK_FALSE(parse_packet(ipv6(58, kSyn)));
  CHECK_FALSE(parse_packet(hex("50") + std::string(60, '\0')));
  CHECK_FALSE(parse_packet(""));
  // A header length that leads out of the packet, or back into it.
  std::string lying = ipv4(6, "");
  lying[0] = 0x4f;
  CHECK_FALSE(parse_packet(lying));
  lying[0] = 0x44;
  CHECK_FALSE(parse_packet(lying + kSyn));
  // Extension headers without an end.
  CHECK_FALSE(parse_packet(ipv6(0, std::string(8 * 40, '\0'))));
}

TEST_CASE("packet: cut anywhere it is none, or says the same") {
  for (const auto& whole :
       {ipv4(6, kSyn), ipv6(0, hex("06 00 010400000000") + kSyn), ipv4(17, kUdp)}) {
    const auto full = parse_packet(whole);
    REQUIRE(full);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const auto head = parse_packet(std::string_view(whole).substr(0, size));
      if (head) CHECK(head->key == full->key);
      if (size < 24) CHECK_FALSE(head);
    }
  }
}

TEST_CASE("packet: hashes differ by every part of the key") {
  const divert::FlowKey key{at("192.0.2.1:1"), at("192.0.2.2:2"), false};
  const divert::FlowKeyHash hash;
  CHECK(hash(key) == hash({at("192.0.2.1:1"), at("192.0.2.2:2"), false}));
  CHECK(hash(key) != hash({at("192.0.2.1:1"), at("192.0.2.2:2"), true}));
  CHECK(hash(key) != hash({at("192.0.2.1:2"), at("192.0.2.2:2"), false}));
  CHECK(hash(key) != hash({at("192.0.2.2:2"), at("192.0.2.1:1"), false}));
}
