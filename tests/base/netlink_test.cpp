#include "base/netlink.h"

#include <cerrno>

#include "base/hex.h"
#include "tests/test.h"

using namespace base::netlink;

namespace {

/// A message of 3 attributes, one of them nested.
std::string sample() {
  Writer writer(0x0a01, kAck, 7);
  writer.append(std::string_view("\2\0\0\5", 4));
  writer.text(1, "abcd");
  writer.nest(2, [&] {
    writer.number(3, 0x01020304);
    writer.big_number(4, 0x0102030405060708);
  });
  writer.bytes(5, std::array<unsigned char, 1>{0xff});
  return writer.view();
}

template <class Number>
std::string host(Number value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

TEST_CASE("netlink: a message as the kernel wants it, padded to 4 bytes") {
  using namespace std::string_literals;
  const std::string expected =
      host<std::uint32_t>(16 + 4 + 12 + 24 + 8) + host<std::uint16_t>(0x0a01) +
      host<std::uint16_t>(kRequest | kAck) + host<std::uint32_t>(7) + host<std::uint32_t>(0) +
      "\2\0\0\5"s +                                                              //
      host<std::uint16_t>(9) + host<std::uint16_t>(1) + "abcd\0\0\0\0"s +        //
      host<std::uint16_t>(24) + host<std::uint16_t>(0x8002) +                    //
      host<std::uint16_t>(8) + host<std::uint16_t>(3) + "\1\2\3\4"s +            //
      host<std::uint16_t>(12) + host<std::uint16_t>(4) + "\1\2\3\4\5\6\7\10"s +  //
      host<std::uint16_t>(5) + host<std::uint16_t>(5) + "\xff\0\0\0"s;
  CHECK(sample() == expected);
}

TEST_CASE("netlink: what was written is read back, and what follows is left") {
  const std::string bytes = sample() + "rest";
  std::string_view left = bytes;
  const auto message = take_message(left);
  REQUIRE(message);
  CHECK(left == "rest");
  CHECK(message->type == 0x0a01);
  CHECK(message->sequence == 7);
  std::vector<std::pair<std::uint16_t, std::string>> seen;
  for_each_attribute(behind_struct(message->body, 4), [&](const Attribute& attribute) {
    if (attribute.type != 2) return seen.emplace_back(attribute.type, attribute.value), void();
    for_each_attribute(attribute.value, [&](const Attribute& inner) {
      seen.emplace_back(inner.type, std::to_string(network_number(inner.value)));
    });
  });
  using namespace std::string_literals;
  CHECK(seen == decltype(seen){{1, "abcd\0"s}, {3, "16909060"}, {4, "16909060"}, {5, "\xff"}});
  CHECK(text_of("abcd\0x"s) == "abcd");
  CHECK(text_of("abcd") == "abcd");
  CHECK(network_number("\1\2\3") == 0);
}

TEST_CASE("netlink: cut at every byte, nothing is read that is not there") {
  const std::string whole = sample();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<char> exact(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    std::string_view bytes{exact.data(), exact.size()};
    CHECK_FALSE(take_message(bytes));
    CHECK(bytes.size() == size);
  }
  const std::string body = whole.substr(kHeader + 4);
  for (std::size_t size = 0; size < body.size(); ++size) {
    const std::vector<char> exact(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size));
    std::size_t total = 0;
    for_each_attribute({exact.data(), exact.size()},
                       [&](const Attribute& attribute) { total += attribute.value.size(); });
    CHECK(total <= size);
  }
}

TEST_CASE("netlink: lengths that lie end the walk") {
  for (const std::uint16_t length : {0, 3, 9, 0xffff}) {
    const std::string bytes = host(length) + host<std::uint16_t>(1) + "abcd";
    std::string_view left = bytes;
    CHECK_FALSE(take_attribute(left));
  }
  CHECK(behind_struct("ab", 4).empty());
}

TEST_CASE("netlink: what the kernel says in an acknowledgement, and what it never says") {
  CHECK(base::netlink_errno(0) == 0);
  CHECK(base::netlink_errno(-2) == ENOENT);
  CHECK(base::netlink_errno(-4095) == 4095);
  for (const std::int32_t odd : {1, -4096, INT32_MIN, INT32_MAX})
    CHECK(base::netlink_errno(odd) == EPROTO);
  CHECK_FALSE(Message{kError, 0, "abc"}.error());
  CHECK(Message{kError, 0, host<std::int32_t>(-EPERM)}.error() == EPERM);
}
