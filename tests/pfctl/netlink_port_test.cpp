// /proc/net/netlink as the kernel prints it, and spoilt.
#include "pfctl/netlink_port.h"

#include <string>

#include "tests/test.h"

namespace {

constexpr std::string_view kTable =
    "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
    "0000000000000000 0   4196       00000550 0        0        0     2        0        101   \n"
    "0000000000000000 12  4196       00000000 0        0        0     2        0        22345 \n"
    "0000000000000000 12  3998012345 00000000 0        0        0     2        0        22346 \n"
    "0000000000000000 12  0          00000000 0        0        0     2        0        7     \n";

}  // namespace

TEST_CASE(
    "netlink_port: finds the inode of the netfilter "
    "socket, not of another protocol's with that port") {
  CHECK(pfctl::inode_of_netfilter_port(kTable, 4196) == 22345);
  CHECK(pfctl::inode_of_netfilter_port(kTable, 3998012345) == 22346);
  CHECK_FALSE(pfctl::inode_of_netfilter_port(kTable, 1));
  CHECK_FALSE(pfctl::inode_of_netfilter_port("", 4196));
}

TEST_CASE(
    "netlink_port: a table cut anywhere gives no port's inode but a prefix of the right one") {
  for (std::size_t length = 0; length < kTable.size(); ++length) {
    const std::string cut(kTable.substr(0, length));
    const auto inode = pfctl::inode_of_netfilter_port(cut, 4196);
    if (inode) CHECK(std::string("22345").starts_with(std::to_string(*inode)));
    CHECK_FALSE(pfctl::inode_of_netfilter_port(cut, 5));
  }
}

TEST_CASE("netlink_port: words that are not numbers match nothing") {
  CHECK_FALSE(pfctl::inode_of_netfilter_port("x 12 41x6 0 0 0 0 0 0 9", 41));
  CHECK_FALSE(pfctl::inode_of_netfilter_port("x 12 4196 0 0 0 0 0 0 -9", 4196));
}
