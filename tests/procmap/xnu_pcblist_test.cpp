#include "procmap/xnu_pcblist.h"

#include "tests/procmap/table_builder.h"
#include "tests/test.h"

namespace procmap {
namespace {

/// What a release of macOS writes per socket.
struct Release {
  const char* name;
  std::size_t socket_record;
  std::size_t tcp_group;  ///< as in the documentation: the fixtures must come out at these sizes
  std::size_t udp_group;
  std::size_t growth;  ///< further bytes in every record
};
const Release kReleases[] = {
    {"macOS 12", 80, 592, 384, 0},
    {"macOS 13 and later", 104, 616, 408, 0},
    {"one to come", 104, 0, 0, 24},
};

struct Wanted {
  const char* local;
  const char* remote;
  std::uint8_t vflag = 1;
  std::int32_t pid = 100;
  std::int32_t effective_pid = 0;
  std::uint32_t uid = 501;
  int state = 4;
};

std::string header(std::uint32_t count, std::uint64_t generation) {
  std::string bytes(24, '\0');
  put(bytes, 0, std::uint32_t{24});
  put(bytes, 4, count);
  put(bytes, 8, generation);
  put(bytes, 16, std::uint64_t{99});
  return bytes;
}

std::string record(std::uint32_t kind, std::size_t size) {
  std::string bytes((size + 7) / 8 * 8, '\0');
  put(bytes, 0, static_cast<std::uint32_t>(size));
  put(bytes, 4, kind);
  return bytes;
}

std::string group(const Release& release, const Wanted& wanted, bool tcp) {
  std::string inpcb = record(0x10, 104 + release.growth);
  put_port(inpcb, 16, at(wanted.remote).port());
  put_port(inpcb, 18, at(wanted.local).port());
  inpcb[44] = static_cast<char>(wanted.vflag);
  put_address(inpcb, 48, at(wanted.remote).address());
  put_address(inpcb, 64, at(wanted.local).address());
  std::string socket = record(0x01, release.socket_record + release.growth);
  put(socket, 8, std::uint64_t{0xfffffe0012345678});
  put(socket, 64, wanted.uid);
  put(socket, 68, wanted.pid);
  put(socket, 72, wanted.effective_pid);
  std::string bytes = inpcb + socket + record(0x02, 32 + release.growth) +
                      record(0x04, 32 + release.growth) + record(0x08, 136 + release.growth);
  if (!tcp) return bytes;
  std::string control = record(0x20, 204 + release.growth);
  put(control, 36, std::int32_t{wanted.state});
  return bytes + control;
}

const Wanted kWanted[] = {
    {"192.0.2.1:40000", "198.51.100.7:443"},
    {"[2001:db8::1]:40001", "[2001:db8::2]:443", 2, 200, 300, 502, 2},
    {"[::]:8080", "[::]:0", 3, 400, 400, 0, 1},  // a listener for both families
};

std::string table(const Release& release, bool tcp) {
  std::string bytes = header(3, 7);
  for (const auto& wanted : kWanted) bytes += group(release, wanted, tcp);
  return bytes + header(3, 7);
}

TEST_CASE("parse_xnu_pcblist: every release, TCP and UDP") {
  for (const auto& release : kReleases) {
    for (const bool tcp : {true, false}) {
      CAPTURE(release.name);
      CAPTURE(tcp);
      if (release.tcp_group != 0)
        REQUIRE(group(release, kWanted[0], tcp).size() ==
                (tcp ? release.tcp_group : release.udp_group));
      const auto parsed = parse_xnu_pcblist(table(release, tcp));
      REQUIRE(parsed);
      CHECK(!parsed->changed);
      REQUIRE(parsed->sockets.size() == std::size(kWanted));
      for (std::size_t i = 0; i < std::size(kWanted); ++i) {
        const auto& socket = parsed->sockets[i];
        CHECK(socket.local == at(kWanted[i].local));
        CHECK(socket.remote == at(kWanted[i].remote));
        CHECK(socket.uid == kWanted[i].uid);
        CHECK(socket.last_pid == kWanted[i].pid);
        CHECK(socket.effective_pid == kWanted[i].effective_pid);
        CHECK(socket.pid() ==
              (kWanted[i].effective_pid != 0 ? kWanted[i].effective_pid : kWanted[i].pid));
        CHECK(socket.state == (tcp ? kWanted[i].state : -1));
        CHECK(socket.name == 0xfffffe0012345678);
      }
    }
  }
}

TEST_CASE("parse_xnu_pcblist: cut at every offset") {
  for (const auto& release : kReleases) {
    const auto whole = table(release, true);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(size);
      // A copy of its own, so that a read past the end is seen.
      CHECK(!parse_xnu_pcblist(std::string(whole.data(), size)));
    }
  }
}

TEST_CASE("parse_xnu_pcblist: another generation at the end") {
  const auto parsed =
      parse_xnu_pcblist(header(1, 7) + group(kReleases[1], kWanted[0], true) + header(2, 8));
  REQUIRE(parsed);
  CHECK(parsed->changed);
  CHECK(parsed->sockets.size() == 1);
}

TEST_CASE("parse_xnu_pcblist: no sockets") {
  for (const auto& bytes : {header(0, 7), header(0, 7) + header(0, 7)}) {
    const auto parsed = parse_xnu_pcblist(bytes);
    REQUIRE(parsed);
    CHECK(parsed->sockets.empty());
  }
  CHECK(!parse_xnu_pcblist(header(1, 7)));
}

TEST_CASE("parse_xnu_pcblist: unknown kinds are passed over, wherever they stand") {
  const auto strange = record(0x40, 60);
  const auto parsed =
      parse_xnu_pcblist(header(2, 7) + strange + group(kReleases[1], kWanted[0], true) + strange +
                        strange + group(kReleases[1], kWanted[1], true) + strange + header(2, 7));
  REQUIRE(parsed);
  REQUIRE(parsed->sockets.size() == 2);
  CHECK(parsed->sockets[0].last_pid == 100);
  CHECK(parsed->sockets[1].last_pid == 200);
}

TEST_CASE("parse_xnu_pcblist: a longer header") {
  auto longer = header(3, 7);
  put(longer, 0, std::uint32_t{32});
  longer.append(8, '\0');
  std::string bytes = longer;
  for (const auto& wanted : kWanted) bytes += group(kReleases[1], wanted, true);
  bytes += longer;
  const auto parsed = parse_xnu_pcblist(bytes);
  REQUIRE(parsed);
  CHECK(parsed->sockets.size() == 3);
}

TEST_CASE("parse_xnu_pcblist: known records too short, lengths that lie") {
  const std::pair<std::uint32_t, std::size_t> shorter[] = {{0x10, 79}, {0x01, 71}, {0x20, 39}};
  for (const auto& [kind, size] : shorter) {
    const auto parsed = parse_xnu_pcblist(header(1, 7) + record(kind, size) + header(1, 7));
    REQUIRE(!parsed);
    CHECK(parsed.error().text.find("this release of macOS is not known") != std::string::npos);
  }
  for (const std::uint32_t length : {0U, 1U, 7U, 23U, 1U << 20, ~0U}) {
    auto bytes = table(kReleases[1], true);
    put(bytes, 24, length);
    CHECK(!parse_xnu_pcblist(bytes));
    put(bytes, 24, std::uint32_t{104});
    put(bytes, 0, length);
    CHECK(!parse_xnu_pcblist(bytes));
  }
}

TEST_CASE("parse_xnu_pcblist: link-local and v4-mapped addresses") {
  // The kernel keeps the interface in the second group of a link-local address.
  const Wanted local{"[fe80:4::1]:40000", "[fe80:4::2]:443", 2};
  const Wanted mapped{"[::ffff:192.0.2.1]:40000", "[::ffff:192.0.2.2]:443", 2};
  const auto parsed = parse_xnu_pcblist(header(2, 7) + group(kReleases[1], local, true) +
                                        group(kReleases[1], mapped, true) + header(2, 7));
  REQUIRE(parsed);
  CHECK(parsed->sockets[0].local == at("[fe80::1]:40000"));
  CHECK(parsed->sockets[0].remote == at("[fe80::2]:443"));
  CHECK(parsed->sockets[1].local == at("192.0.2.1:40000"));
  CHECK(parsed->sockets[1].remote == at("192.0.2.2:443"));
}

std::string fdinfo(std::int32_t family, std::int32_t protocol, std::int32_t kind,
                   std::uint8_t vflag, const char* local, const char* remote) {
  std::string bytes(792, '\0');
  put(bytes, 160, std::uint64_t{55});
  put(bytes, 180, protocol);
  put(bytes, 184, family);
  put(bytes, 256, kind);
  put_port(bytes, 264, at(remote).port());
  put_port(bytes, 268, at(local).port());
  bytes[288] = static_cast<char>(vflag);
  put_address(bytes, 296, at(remote).address());
  put_address(bytes, 312, at(local).address());
  return bytes;
}

TEST_CASE("parse_xnu_socket_fdinfo: TCP and UDP sockets, nothing else") {
  const auto v4 = fdinfo(2, 6, 2, 1, "192.0.2.1:40000", "198.51.100.7:443");
  const auto tcp = parse_xnu_socket_fdinfo(v4);
  REQUIRE(tcp);
  CHECK(tcp->transport == Transport::tcp);
  CHECK(tcp->socket.local == at("192.0.2.1:40000"));
  CHECK(tcp->socket.remote == at("198.51.100.7:443"));
  CHECK(tcp->socket.name == 55);
  const auto udp =
      parse_xnu_socket_fdinfo(fdinfo(30, 17, 1, 2, "[2001:db8::1]:1", "[2001:db8::2]:53"));
  REQUIRE(udp);
  CHECK(udp->transport == Transport::udp);
  CHECK(udp->socket.local == at("[2001:db8::1]:1"));
  CHECK(!parse_xnu_socket_fdinfo(fdinfo(1, 0, 3, 1, "192.0.2.1:1", "192.0.2.1:1")));
  CHECK(!parse_xnu_socket_fdinfo(fdinfo(2, 1, 1, 1, "192.0.2.1:1", "192.0.2.1:1")));  // ICMP
  for (std::size_t size = 0; size < 328; ++size)
    CHECK(!parse_xnu_socket_fdinfo(std::string(v4.data(), size)));
}

}  // namespace
}  // namespace procmap
