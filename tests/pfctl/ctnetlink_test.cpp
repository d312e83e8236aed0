// Conntrack's bytes: the question, and answers that are whole, cut, lying and foreign.
#include "pfctl/ctnetlink.h"

#include <cerrno>

#include "tests/pfctl/netlink_bytes.h"
#include "tests/test.h"

namespace {

using namespace pfctl_test;
using Kind = pfctl::ConntrackAnswer::Kind;

constexpr std::uint16_t kConntrackNew = 1 << 8;
constexpr std::uint16_t kConntrackGet = 1 << 8 | 1;
constexpr std::uint32_t kSequence = 77;
enum Attribute : std::uint16_t { tuple_orig = 1, tuple_reply = 2, status = 3, mark = 8, id = 12 };
enum TupleAttribute : std::uint16_t { tuple_ip = 1, tuple_proto = 2, tuple_zone = 3 };

base::Endpoint endpoint(std::string_view text) {
  return base::parse_endpoint(text).value();
}

std::string address_bytes(const base::Address& address) {
  if (address.is_v6()) {
    const auto bytes = address.to_v6().to_bytes();
    return {bytes.begin(), bytes.end()};
  }
  const auto bytes = address.to_v4().to_bytes();
  return {bytes.begin(), bytes.end()};
}

std::string port_bytes(std::uint16_t port) {
  return big_endian(port).substr(2);
}

std::string tuple(const base::Endpoint& source, const base::Endpoint& destination) {
  const std::uint16_t first = source.address().is_v4() ? 1 : 3;
  return nested(tuple_ip, attribute(first, address_bytes(source.address())) +
                              attribute(first + 1, address_bytes(destination.address()))) +
         nested(tuple_proto, attribute(1, "\x06") + attribute(2, port_bytes(source.port())) +
                                 attribute(3, port_bytes(destination.port())));
}

std::string answer(const base::Endpoint& source, const base::Endpoint& destination) {
  const std::string family(1, source.address().is_v4() ? '\x02' : '\x0a');
  return message(kConntrackNew, kSequence,
                 family + std::string(3, '\0') + nested(tuple_orig, tuple(source, destination)) +
                     nested(tuple_reply, tuple(endpoint("127.0.0.1:8899"), source)) +
                     attribute(status, big_endian(0x18e)) +
                     attribute(mark, big_endian(0x12345678)) + attribute(id, big_endian(99)));
}

pfctl::ConntrackAnswer decode(const std::string& bytes, std::uint32_t sequence = kSequence) {
  return pfctl::decode_conntrack_answer(ExactCopy(bytes).view(), sequence);
}

const std::string kAnswer4 = answer(endpoint("192.0.2.1:41000"), endpoint("198.51.100.1:443"));
const std::string kAnswer6 =
    answer(endpoint("[2001:db8::1]:41000"), endpoint("[2001:db8:1::9]:8443"));

}  // namespace

TEST_CASE("ctnetlink: the question holds the reply tuple, byte for byte") {
  const auto source = endpoint("127.0.0.1:8899"), destination = endpoint("192.0.2.1:2753");
  auto expected =
      message(kConntrackGet, 5,
              std::string("\x02\0\0\0", 4) + nested(tuple_reply, tuple(source, destination)));
  expected[6] = 1;  // NLM_F_REQUEST
  CHECK(pfctl::encode_conntrack_query(5, source, destination) == expected);
}

TEST_CASE("ctnetlink: the question for IPv6") {
  const auto source = endpoint("[::1]:8899"), destination = endpoint("[2001:db8::1]:41000");
  auto expected =
      message(kConntrackGet, 0xffffffff,
              std::string("\x0a\0\0\0", 4) + nested(tuple_reply, tuple(source, destination)));
  expected[6] = 1;
  CHECK(pfctl::encode_conntrack_query(0xffffffff, source, destination) == expected);
}

TEST_CASE("ctnetlink: an answer gives the original tuple and the mark") {
  const auto four = decode(kAnswer4);
  REQUIRE(four.kind == Kind::found);
  CHECK(base::to_string(four.original.source) == "192.0.2.1:41000");
  CHECK(base::to_string(four.original.destination) == "198.51.100.1:443");
  CHECK(four.original.mark == 0x12345678);
  const auto six = decode(kAnswer6);
  REQUIRE(six.kind == Kind::found);
  CHECK(base::to_string(six.original.source) == "[2001:db8::1]:41000");
  CHECK(base::to_string(six.original.destination) == "[2001:db8:1::9]:8443");
}

TEST_CASE("ctnetlink: an answer cut at any offset is malformed") {
  for (const auto& whole : {kAnswer4, kAnswer6}) {
    for (std::size_t length = 0; length < whole.size(); ++length) {
      CHECK(decode(whole.substr(0, length)).kind == Kind::malformed);
    }
  }
}

TEST_CASE(
    "ctnetlink: an answer cut at any offset with "
    "its length corrected is never more than its parts") {
  for (std::size_t length = 16; length < kAnswer4.size(); ++length) {
    std::string cut = kAnswer4.substr(0, length);
    cut.replace(0, 4, host_order(static_cast<std::uint32_t>(length)));
    const auto result = decode(cut);
    if (result.kind != Kind::found) {
      CHECK(result.kind == Kind::malformed);
      continue;
    }
    CHECK(base::to_string(result.original.destination) == "198.51.100.1:443");
    CHECK(length >= 16 + 4 + 52);  // header, nfgenmsg, original tuple
  }
}

TEST_CASE("ctnetlink: each two bytes replaced by lying lengths are survived") {
  for (const auto& whole : {kAnswer4, kAnswer6}) {
    for (std::size_t offset = 0; offset + 2 <= whole.size(); ++offset) {
      for (const std::uint16_t lie : {0, 1, 3, 4, 5, 0x7fff, 0x8000, 0xffff}) {
        std::string spoilt = whole;
        spoilt.replace(offset, 2, host_order(lie));
        const auto kind = decode(spoilt).kind;
        // No lie turns it into an error message: that is type 2.
        const bool possible =
            kind == Kind::found || kind == Kind::malformed || kind == Kind::foreign;
        CHECK(possible);
      }
    }
  }
}

TEST_CASE("ctnetlink: a message that claims to be longer or shorter than it is") {
  const auto size = static_cast<std::uint32_t>(kAnswer4.size());
  for (const std::uint32_t lie :
       {0U, 1U, 15U, 16U, 19U, size + 1, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
    std::string spoilt = kAnswer4;
    spoilt.replace(0, 4, host_order(lie));
    CHECK(decode(spoilt).kind == Kind::malformed);
  }
}

TEST_CASE("ctnetlink: addresses and ports of a wrong size are not taken") {
  const std::string ports =
      nested(tuple_proto, attribute(1, "\x06") + attribute(2, "ab") + attribute(3, "cd"));
  const std::string addresses = nested(tuple_ip, attribute(1, "abcd") + attribute(2, "efgh"));
  const std::string cases[] = {
      nested(tuple_ip, attribute(1, "abc") + attribute(2, "efgh")) + ports,
      nested(tuple_ip, attribute(1, "abcd") + attribute(2, "efghi")) + ports,
      nested(tuple_ip, attribute(3, "abcd") + attribute(4, "efgh")) + ports,
      nested(tuple_ip, attribute(1, "abcd")) + ports,
      addresses,
      addresses + nested(tuple_proto, attribute(1, "\x06") + attribute(2, "ab")),
      addresses +
          nested(tuple_proto, attribute(1, "\x06") + attribute(2, "a") + attribute(3, "cd")),
      addresses +
          nested(tuple_proto, attribute(1, "\x11") + attribute(2, "ab") + attribute(3, "cd")),
      addresses + nested(tuple_proto, attribute(2, "ab") + attribute(3, "cd")),
      ports,
      "",
  };
  for (const auto& each : cases) {
    const std::string head("\x02\0\0\0", 4);
    CHECK(decode(message(kConntrackNew, kSequence, head + nested(tuple_orig, each))).kind ==
          Kind::malformed);
  }
  const std::string head("\x02\0\0\0", 4);
  CHECK(decode(message(kConntrackNew, kSequence, head + nested(tuple_orig, addresses + ports)))
            .kind == Kind::found);
}

TEST_CASE("ctnetlink: errors, acknowledgements and other people's answers") {
  CHECK(decode(error_message(kSequence, ENOENT)).kind == Kind::unknown);
  const auto refused = decode(error_message(kSequence, EPERM));
  CHECK(refused.kind == Kind::refused);
  CHECK(refused.error == EPERM);
  CHECK(decode(error_message(kSequence, 0)).kind == Kind::malformed);
  CHECK(decode(error_message(kSequence - 1, ENOENT)).kind == Kind::foreign);
  CHECK(decode(kAnswer4, kSequence + 1).kind == Kind::foreign);
  CHECK(decode(message(3, kSequence, "")).kind == Kind::foreign);
  CHECK(decode(message(2, kSequence, "ab")).kind == Kind::malformed);
}
