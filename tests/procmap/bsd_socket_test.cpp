#include "procmap/bsd_socket.h"

#include "tests/procmap/table_builder.h"
#include "tests/test.h"

namespace procmap {
namespace {

BsdSocket socket(const char* local, const char* remote, std::uint64_t name) {
  BsdSocket made;
  made.local = at(local);
  made.remote = at(remote);
  made.name = name;
  return made;
}

TEST_CASE("find_socket: TCP is exact, UDP takes the closest") {
  const std::vector<BsdSocket> sockets = {
      socket("0.0.0.0:40000", "0.0.0.0:0", 1),
      socket("192.0.2.1:40000", "0.0.0.0:0", 2),
      socket("192.0.2.1:40000", "198.51.100.7:443", 3),
      socket("192.0.2.1:40000", "198.51.100.8:443", 4),
      socket("[::]:40001", "[::]:0", 5),
      socket("[fe80::1]:40002", "[fe80::2]:443", 6),
  };
  struct Case {
    const char* source;
    const char* destination;
    Transport transport;
    std::uint64_t name;  // 0: none
  };
  const Case cases[] = {
      {"192.0.2.1:40000", "198.51.100.7:443", Transport::tcp, 3},
      {"192.0.2.1:40000", "198.51.100.8:443", Transport::tcp, 4},
      {"192.0.2.1:40000", "198.51.100.9:443", Transport::tcp, 0},
      {"192.0.2.1:40000", "198.51.100.7:443", Transport::udp, 3},
      {"192.0.2.1:40000", "198.51.100.9:443", Transport::udp, 2},
      {"192.0.2.5:40000", "198.51.100.9:443", Transport::udp, 1},
      {"192.0.2.5:40001", "198.51.100.9:443", Transport::udp, 5},
      {"[2001:db8::1]:40001", "[2001:db8::2]:53", Transport::udp, 5},
      {"192.0.2.5:40003", "198.51.100.9:443", Transport::udp, 0},
      {"[::ffff:192.0.2.1]:40000", "[::ffff:198.51.100.7]:443", Transport::tcp, 3},
      {"[fe80::1]:40002", "[fe80::2]:443", Transport::tcp, 6},
  };
  for (const auto& each : cases) {
    CAPTURE(each.source);
    CAPTURE(each.destination);
    const auto* found = find_socket(sockets, at(each.source), at(each.destination), each.transport);
    CHECK((found ? found->name : 0) == each.name);
  }
  auto scoped = boost::asio::ip::make_address_v6("fe80::1");
  scoped.scope_id(4);
  CHECK(find_socket(sockets, {scoped, 40002}, at("[fe80::2]:443"), Transport::tcp) == &sockets[5]);
}

TEST_CASE("bsd_state_name: as on Linux, numbers for the unknown") {
  CHECK(bsd_state_name(1) == "LISTEN");
  CHECK(bsd_state_name(4) == "ESTAB");
  CHECK(bsd_state_name(10) == "TIME-WAIT");
  CHECK(bsd_state_name(11) == "11");
  CHECK(bsd_state_name(-1) == "-1");
}

}  // namespace
}  // namespace procmap
