// Messages compared with what libnetfilter_queue's examples send (strace) and the kernel's headers
// say.
#include "divert/packet/nfqueue.h"

#include <cstring>

#include "tests/test.h"

namespace {

namespace nfqueue = divert::nfqueue;

template <class Number>
std::string host(Number value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::string attribute(std::uint16_t type, const std::string& value) {
  std::string bytes = host(static_cast<std::uint16_t>(4 + value.size())) + host(type) + value;
  bytes.resize((bytes.size() + 3) & ~std::size_t{3});
  return bytes;
}

std::string message(std::uint16_t type, std::uint16_t flags, const std::string& number,
                    const std::string& attributes) {
  return host(static_cast<std::uint32_t>(20 + attributes.size())) + host(type) + host(flags) +
         std::string(8, '\0') + std::string(2, '\0') + number + attributes;
}

const std::string kNumber = "\x6f\x73";  // 28531, big-endian

std::string packet(const std::string& attributes) {
  return message(0x300, 0, kNumber, attributes);
}

}  // namespace

TEST_CASE("nfqueue: a queue is asked for and set up, without a way past it when it is full") {
  CHECK(nfqueue::encode_bind(28531) ==
        message(0x302, 5, kNumber, attribute(1, std::string("\1\0\0\0", 4))));
  CHECK(nfqueue::encode_setup(28531, 128, 1024) ==
        message(0x302, 5, kNumber,
                attribute(2, std::string("\0\0\0\x80\2", 5)) +
                    attribute(3, std::string("\0\0\4\0", 4)) +
                    attribute(5, std::string("\0\0\0\x0c", 4)) +
                    attribute(4, std::string("\0\0\0\x0c", 4))));
}

TEST_CASE("nfqueue: a verdict with a mark") {
  const auto verdict = nfqueue::encode_verdict(28531, 7, nfqueue::Verdict::accept, 0x10000000);
  CHECK(std::string(verdict.begin(), verdict.end()) ==
        message(0x301, 1, kNumber,
                attribute(2, std::string("\0\0\0\1\0\0\0\7", 8)) +
                    attribute(3, std::string("\x10\0\0\0", 4))));
}

TEST_CASE("nfqueue: a packet, its id, its mark and its bytes") {
  const std::string bytes =
      packet(attribute(1, std::string("\0\0\1\2\x08\0\3", 7)) +
             attribute(3, std::string("\0\0\0\5", 4)) + attribute(6, "ifname") +
             attribute(17, std::string("\0\0\3\xe8", 4)) + attribute(10, "E...payload"));
  std::string_view rest = bytes;
  const auto found = nfqueue::decode(rest);
  REQUIRE(found);
  CHECK(rest.empty());
  CHECK(found->kind == nfqueue::Message::Kind::packet);
  CHECK(found->id == 0x102);
  CHECK(found->mark == 5);
  CHECK(found->gid == 1000);
  CHECK(found->bytes == "E...payload");
}

TEST_CASE("nfqueue: whether a user namespace numbers groups as the first one") {
  CHECK(nfqueue::numbers_as_first("         0          0 4294967295\n"));
  for (const char* map :
       {"0 100000 65536\n", "0 0 90000\n", "0 0 1\n1 100001 65535\n", "5 5 4294967290\n",
        "1 0 4294967295\n", "0 1 4294967295\n", "", "x\n", "0 0\n"}) {
    CAPTURE(std::string(map));
    CHECK_FALSE(nfqueue::numbers_as_first(map));
  }
}

TEST_CASE("nfqueue: acknowledgements and refusals") {
  const auto acknowledged = [](int error) {
    return host(std::uint32_t{36}) + host(std::uint16_t{2}) + host(std::uint16_t{0}) +
           std::string(8, '\0') + host(std::int32_t{-error}) + std::string(16, '\0');
  };
  const std::string bytes = acknowledged(0) + acknowledged(16);
  std::string_view rest = bytes;
  const auto first = nfqueue::decode(rest);
  REQUIRE(first);
  CHECK(first->kind == nfqueue::Message::Kind::acknowledged);
  CHECK(first->error == 0);
  const auto second = nfqueue::decode(rest);
  REQUIRE(second);
  CHECK(second->error == 16);
  CHECK(rest.empty());
}

TEST_CASE("nfqueue: cut or lying messages are refused, wherever they end") {
  const std::string bytes =
      packet(attribute(1, std::string("\0\0\1\2\x08\0\3", 7)) + attribute(10, "abc"));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    std::string_view rest = std::string_view(bytes).substr(0, size);
    CHECK_FALSE(nfqueue::decode(rest));
  }
  std::string lying = bytes;
  lying[20] = 3;  // an attribute shorter than its own header
  std::string_view rest = lying;
  CHECK_FALSE(nfqueue::decode(rest));
  lying[20] = 100;
  rest = lying;
  CHECK_FALSE(nfqueue::decode(rest));
}
