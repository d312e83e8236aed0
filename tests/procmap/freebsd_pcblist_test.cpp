#include "procmap/freebsd_pcblist.h"

#include "tests/procmap/table_builder.h"
#include "tests/test.h"

namespace procmap {
namespace {

/// FreeBSD 12 to 14 write the same sizes: what was added since has taken the place of spare fields.
struct Release {
  const char* name;
  std::size_t growth;
};
const Release kReleases[] = {{"FreeBSD 12 to 14", 0}, {"one to come", 40}};

struct Wanted {
  const char* local;
  const char* remote;
  std::uint8_t vflag = 1;
  std::uint64_t name = 0xfffff80004a1b000;
  std::uint32_t uid = 1001;
  int state = 4;
};
const Wanted kWanted[] = {
    {"192.0.2.1:40000", "198.51.100.7:443"},
    {"[2001:db8::1]:40001", "[2001:db8::2]:443", 2, 0xfffff80004a1c000, 1002, 2},
    {"[::]:8080", "[::]:0", 3, 0, 0, 1},
};

std::string header(std::uint32_t count, std::uint64_t generation) {
  std::string bytes(64, '\0');
  put(bytes, 0, std::uint64_t{64});
  put(bytes, 8, count);
  put(bytes, 16, generation);
  return bytes;
}

std::string record(const Release& release, const Wanted& wanted, bool tcp) {
  std::string bytes((tcp ? 744 : 400) + release.growth, '\0');
  put(bytes, 0, std::uint64_t{bytes.size()});
  const std::size_t inpcb = tcp ? 8 : 0;
  if (tcp) put(bytes, inpcb, std::uint64_t{400});
  put(bytes, inpcb + 8, std::uint64_t{240});
  put(bytes, inpcb + 16, wanted.name);
  put(bytes, inpcb + 128, wanted.uid);
  put_port(bytes, inpcb + 252, at(wanted.remote).port());
  put_port(bytes, inpcb + 254, at(wanted.local).port());
  put_address(bytes, inpcb + 256, at(wanted.remote).address());
  put_address(bytes, inpcb + 272, at(wanted.local).address());
  bytes[inpcb + 392] = static_cast<char>(wanted.vflag);
  if (tcp) put(bytes, 568, std::int32_t{wanted.state});
  return bytes;
}

std::string table(const Release& release, bool tcp) {
  std::string bytes = header(3, 7);
  for (const auto& wanted : kWanted) bytes += record(release, wanted, tcp);
  return bytes + header(3, 7);
}

TEST_CASE("parse_freebsd_pcblist: TCP and UDP") {
  for (const auto& release : kReleases) {
    for (const bool tcp : {true, false}) {
      CAPTURE(release.name);
      CAPTURE(tcp);
      const auto parsed =
          parse_freebsd_pcblist(table(release, tcp), tcp ? Transport::tcp : Transport::udp);
      REQUIRE(parsed);
      CHECK(!parsed->changed);
      REQUIRE(parsed->sockets.size() == std::size(kWanted));
      for (std::size_t i = 0; i < std::size(kWanted); ++i) {
        const auto& socket = parsed->sockets[i];
        CHECK(socket.local == at(kWanted[i].local));
        CHECK(socket.remote == at(kWanted[i].remote));
        CHECK(socket.name == kWanted[i].name);
        CHECK(socket.uid == kWanted[i].uid);
        CHECK(socket.state == (tcp ? kWanted[i].state : -1));
      }
    }
  }
}

TEST_CASE("parse_freebsd_pcblist: cut at every offset") {
  for (const auto transport : {Transport::tcp, Transport::udp}) {
    const auto whole = table(kReleases[0], transport == Transport::tcp);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(size);
      CHECK(!parse_freebsd_pcblist(std::string(whole.data(), size), transport));
    }
  }
}

TEST_CASE("parse_freebsd_pcblist: another generation at the end, no sockets") {
  const auto one = record(kReleases[0], kWanted[0], true);
  const auto parsed = parse_freebsd_pcblist(header(1, 7) + one + header(2, 8), Transport::tcp);
  REQUIRE(parsed);
  CHECK(parsed->changed);
  CHECK(parsed->sockets.size() == 1);
  for (const auto& bytes : {header(0, 7), header(0, 7) + header(0, 7)}) {
    const auto none = parse_freebsd_pcblist(bytes, Transport::tcp);
    REQUIRE(none);
    CHECK(none->sockets.empty());
  }
  CHECK(!parse_freebsd_pcblist(header(1, 7), Transport::tcp));
}

TEST_CASE("parse_freebsd_pcblist: records too short, lengths that lie") {
  const auto udp = table(kReleases[0], false);
  const auto parsed = parse_freebsd_pcblist(udp, Transport::tcp);
  REQUIRE(!parsed);
  CHECK(parsed.error().text.find("this release of FreeBSD is not known") != std::string::npos);
  for (const std::uint64_t length : {0ULL, 1ULL, 63ULL, 65ULL, 743ULL, 1ULL << 20, ~0ULL}) {
    CAPTURE(length);
    auto bytes = table(kReleases[0], true);
    put(bytes, 64, length);
    CHECK(!parse_freebsd_pcblist(bytes, Transport::tcp));
    put(bytes, 64, std::uint64_t{744});
    put(bytes, 0, length);
    CHECK(!parse_freebsd_pcblist(bytes, Transport::tcp));
  }
}

std::string file(std::int32_t pid, std::int32_t descriptor, std::int16_t type, std::uint64_t data,
                 std::size_t size = 128) {
  std::string bytes(size, '\0');
  put(bytes, 0, std::uint64_t{size});
  put(bytes, 8, pid);
  put(bytes, 12, std::uint32_t{1001});
  put(bytes, 16, descriptor);
  put(bytes, 32, type);
  put(bytes, 56, data);
  return bytes;
}

TEST_CASE("parse_freebsd_files: sockets only, and who holds one") {
  const auto name = kWanted[0].name;
  // 100 has made the socket and forked 101; 102 has a file at the same address.
  const auto bytes = file(100, 3, 2, name) + file(101, 3, 2, name, 160) + file(102, 4, 1, name) +
                     file(103, 5, 2, 0) + file(99, 6, 2, kWanted[1].name);
  const auto holders = parse_freebsd_files(bytes);
  REQUIRE(holders);
  REQUIRE(holders->size() == 4);
  const auto* holder = find_holder(*holders, name);
  REQUIRE(holder);
  CHECK(holder->pid == 101);
  CHECK(holder->descriptor == 3);
  CHECK(holder->uid == 1001);
  CHECK(find_holder(*holders, kWanted[1].name)->pid == 99);
  CHECK(find_holder(*holders, 0) == nullptr);
  CHECK(find_holder(*holders, 1) == nullptr);
}

TEST_CASE("parse_freebsd_files: cut at every offset, lengths that lie") {
  const auto whole = file(100, 3, 2, 1) + file(101, 3, 2, 2);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    const auto parsed = parse_freebsd_files(std::string(whole.data(), size));
    CHECK(static_cast<bool>(parsed) == (size == 0 || size == 128));
  }
  for (const std::uint64_t length : {0ULL, 127ULL, 129ULL, ~0ULL}) {
    auto bytes = whole;
    put(bytes, 128, length);
    CHECK(!parse_freebsd_files(bytes));
  }
}

/// From the connection to the process, as attribution does it.
TEST_CASE("FreeBSD: from the addresses to the process") {
  const auto table_of = parse_freebsd_pcblist(table(kReleases[0], true), Transport::tcp);
  const auto holders =
      parse_freebsd_files(file(7, 3, 2, kWanted[0].name) + file(8, 3, 2, kWanted[1].name));
  REQUIRE(table_of);
  REQUIRE(holders);
  const auto* socket =
      find_socket(table_of->sockets, at(kWanted[1].local), at(kWanted[1].remote), Transport::tcp);
  REQUIRE(socket);
  CHECK(find_holder(*holders, socket->name)->pid == 8);
}

}  // namespace
}  // namespace procmap
