#include "pfctl/natlook_layout.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace {

using Bytes = std::vector<unsigned char>;
using pfctl::Dialect;

base::Endpoint end(const char* text) {
  return base::parse_endpoint(text).value();
}

Bytes bytes_of(const pfctl::NatlookRequest& request) {
  return {request.view().begin(), request.view().end()};
}

void put(Bytes& bytes, std::size_t at, const Bytes& what) {
  for (std::size_t i = 0; i < what.size(); ++i) bytes.at(at + i) = what[i];
}

// From the table of the design: written out once more, so that a slip in the header shows.
struct Dialectal {
  Dialect dialect;
  std::size_t size;
  std::size_t ports[4];
  std::size_t family, protocol, direction;
  unsigned char inet6;
};
constexpr Dialectal kDialects[] = {
    {Dialect::darwin, 84, {64, 68, 72, 76}, 80, 81, 83, 30},
    {Dialect::freebsd, 76, {64, 66, 68, 70}, 72, 73, 74, 28},
    {Dialect::openbsd, 80, {68, 70, 72, 74}, 76, 77, 78, 24},
};

const Bytes kV6Peer{0xfd, 0xff, 0x6f, 0x73, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
const Bytes kV6Local{0xfd, 0xff, 0x6f, 0x73, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

}  // namespace

TEST_CASE("natlook_layout: a question about IPv4, byte for byte") {
  for (const auto& each : kDialects) {
    Bytes expected(each.size);
    put(expected, 0, {10, 0, 0, 7});
    put(expected, 16, {198, 18, 0, 1});
    put(expected, each.ports[0], {0xc3, 0x50});  // 50000
    put(expected, each.ports[1], {0x6f, 0x73});  // 28531
    expected[each.family] = 2;
    expected[each.protocol] = 6;
    expected[each.direction] = 2;
    const auto& layout = pfctl::natlook_layout(each.dialect);
    CHECK(layout.request == (0xC0004417 | each.size << 16));
    CHECK(bytes_of(pfctl::encode_natlook(layout, end("10.0.0.7:50000"), end("198.18.0.1:28531"))
                       .value()) == expected);
    CHECK(bytes_of(
              pfctl::encode_natlook(layout, end("[::ffff:10.0.0.7]:50000"), end("198.18.0.1:28531"))
                  .value()) == expected);
  }
}

TEST_CASE("natlook_layout: a question about IPv6, byte for byte") {
  for (const auto& each : kDialects) {
    Bytes expected(each.size);
    put(expected, 0, kV6Peer);
    put(expected, 16, kV6Local);
    put(expected, each.ports[0], {0x00, 0x51});
    put(expected, each.ports[1], {0x51, 0x00});
    expected[each.family] = each.inet6;
    expected[each.protocol] = 6;
    expected[each.direction] = 2;
    CHECK(bytes_of(pfctl::encode_natlook(pfctl::natlook_layout(each.dialect),
                                         end("[fdff:6f73::2]:81"), end("[fdff:6f73::1]:20736"))
                       .value()) == expected);
  }
}

TEST_CASE("natlook_layout: what cannot be asked") {
  constexpr const char* kPairs[][2] = {{"10.0.0.7:1", "[::1]:1"},
                                       {"10.0.0.7:0", "127.0.0.1:1"},
                                       {"10.0.0.7:1", "127.0.0.1:0"},
                                       {"10.0.0.7:1", "0.0.0.0:1"},
                                       {"[::]:1", "[::1]:1"}};
  for (const auto& [peer, local] : kPairs) {
    CAPTURE(peer);
    const auto request = pfctl::encode_natlook(pfctl::kNatlookDarwin, end(peer), end(local));
    REQUIRE(!request);
    CHECK(request.error().text.find("cannot be the ends of one connection") != std::string::npos);
  }
}

TEST_CASE("natlook_layout: the answer, whole and cut at every offset") {
  for (const auto& each : kDialects) {
    const auto& layout = pfctl::natlook_layout(each.dialect);
    Bytes v4(each.size);
    put(v4, 48, {93, 184, 216, 34});
    put(v4, each.ports[2], {0xc3, 0x50});
    put(v4, each.ports[3], {0x01, 0xbb});
    v4[each.family] = 2;
    const auto found = pfctl::decode_natlook(layout, v4, end("10.0.0.7:50000"));
    REQUIRE(found);
    CHECK(found->source == end("10.0.0.7:50000"));
    CHECK(found->destination == end("93.184.216.34:443"));
    for (std::size_t size = 0; size < v4.size(); ++size) {
      CHECK(!pfctl::decode_natlook(layout, {v4.data(), size}, end("10.0.0.7:50000")));
    }
    CHECK(!pfctl::decode_natlook(layout, v4, end("[fdff:6f73::2]:50000")));

    Bytes v6(each.size);
    put(v6, 48, {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9});
    put(v6, each.ports[3], {0x00, 0x50});
    v6[each.family] = each.inet6;
    const auto six = pfctl::decode_natlook(layout, v6, end("[fdff:6f73::2]:50000"));
    REQUIRE(six);
    CHECK(six->destination == end("[2001:db8::9]:80"));

    put(v6, each.ports[3], {0, 0});
    CHECK(!pfctl::decode_natlook(layout, v6, end("[fdff:6f73::2]:50000")));
  }
}

TEST_CASE("natlook_layout: the program's own port, where pf has given the connection another one") {
  for (const auto& each : kDialects) {
    CAPTURE(each.size);
    const auto& layout = pfctl::natlook_layout(each.dialect);
    Bytes v4(each.size);
    put(v4, 32, {10, 0, 0, 7});
    put(v4, 48, {93, 184, 216, 34});
    put(v4, each.ports[0], {0xea, 0x60});  // asked: 60000
    put(v4, each.ports[2], {0xc3, 0x50});  // answered: 50000
    put(v4, each.ports[3], {0x01, 0xbb});
    v4[each.family] = 2;
    const auto found = pfctl::decode_natlook(layout, v4, end("10.0.0.7:60000"));
    REQUIRE(found);
    CHECK(found->source == end("10.0.0.7:50000"));
    CHECK(found->destination == end("93.184.216.34:443"));
    put(v4, each.ports[2], {0, 0});
    CHECK(pfctl::decode_natlook(layout, v4, end("10.0.0.7:60000"))->source ==
          end("10.0.0.7:60000"));

    Bytes v6(each.size);
    put(v6, 32, kV6Peer);
    put(v6, 48, {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9});
    put(v6, each.ports[2], {0xc3, 0x50});
    put(v6, each.ports[3], {0x00, 0x50});
    v6[each.family] = each.inet6;
    CHECK(pfctl::decode_natlook(layout, v6, end("[fdff:6f73::2]:60000"))->source ==
          end("[fdff:6f73::2]:50000"));
  }
}

TEST_CASE("natlook_layout: asked once more when there is no state yet, and not a third time") {
  struct {
    std::vector<int> answers;
    std::size_t calls;
    int error;
    bool found;
  } const kCases[] = {
      {{0}, 1, 0, true},
      {{ENOENT, 0}, 2, 0, true},
      {{ENOENT, ENOENT, 0}, 2, 0, false},
      {{E2BIG, 0}, 1, E2BIG, false},
      {{ENOENT, EPERM, 0}, 2, EPERM, false},
  };
  for (const auto& each : kCases) {
    CAPTURE(each.calls);
    std::size_t calls = 0;
    const auto asked =
        pfctl::ask_natlook(pfctl::kNatlookFreebsd, end("10.0.0.7:50000"), end("198.18.0.1:28531"),
                           [&](std::uint32_t request, unsigned char* room) {
                             CHECK(request == 0xC04C4417);
                             // The question is whole at every attempt.
                             CHECK(room[64] == 0xc3);
                             CHECK(room[70] == 0);
                             const int answer = each.answers.at(calls++);
                             room[48] = 93;
                             room[70] = 1;
                             return answer;
                           });
    CHECK(calls == each.calls);
    CHECK(asked.has_value() == (each.error == 0));
    if (!asked) CHECK(asked.error().os_code == each.error);
    if (asked) CHECK(asked->has_value() == each.found);
  }
}

TEST_CASE("natlook_layout: an answer that names no port, and ends that cannot be asked about") {
  const auto nothing =
      pfctl::ask_natlook(pfctl::kNatlookDarwin, end("10.0.0.7:50000"), end("198.18.0.1:28531"),
                         [](std::uint32_t, unsigned char*) { return 0; });
  REQUIRE(!nothing);
  CHECK(nothing.error().text == "pf's answer about 10.0.0.7:50000 is not a TCP connection");
  bool called = false;
  CHECK(!pfctl::ask_natlook(pfctl::kNatlookDarwin, end("10.0.0.7:0"), end("198.18.0.1:28531"),
                            [&](std::uint32_t, unsigned char*) {
                              called = true;
                              return 0;
                            }));
  CHECK(!called);
}

TEST_CASE("natlook_layout: refusals in the user's words") {
  struct {
    int error;
    const char* says;
  } constexpr kCases[] = {{EPERM, "run as root"},         {EACCES, "run as root"},
                          {E2BIG, "more than one state"}, {EINVAL, "for incomplete"},
                          {ENOTTY, "does not know"},      {EIO, "output error"}};
  for (const auto& each : kCases) {
    const auto error = pfctl::explain_natlook(each.error, end("10.0.0.7:50000"));
    CHECK(error.os_code == each.error);
    CHECK(error.text.find(each.says) != std::string::npos);
    CHECK(error.text.find("10.0.0.7:50000") != std::string::npos);
  }
}
