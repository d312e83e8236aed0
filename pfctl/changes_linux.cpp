// Notifications of nf_tables and rtnetlink. What they say does not matter: they only
// cause a look.
#include <array>
#include <cerrno>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "pfctl/changes.h"

namespace pfctl {
namespace {

base::Result<base::UniqueFd> subscribe(int protocol, std::initializer_list<int> groups) {
  base::UniqueFd socket{::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)};
  if (!socket) return base::os_error("cannot open a netlink socket", errno);
  const sockaddr_nl here{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = 0, .nl_groups = 0};
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0)
    return base::os_error("cannot bind a netlink socket", errno);
  for (const int group : groups) {
    if (::setsockopt(socket.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
      return base::os_error("cannot listen for changes of packet-filter rules", errno);
  }
  return socket;
}

}  // namespace

base::Result<Changes> Changes::open() {
  auto rules = subscribe(NETLINK_NETFILTER, {NFNLGRP_NFTABLES});
  if (!rules) return rules.error();
  auto routing = subscribe(NETLINK_ROUTE, {RTNLGRP_LINK, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE});
  if (!routing) return routing.error();
  std::vector<base::UniqueFd> sockets;
  sockets.push_back(std::move(*rules));
  sockets.push_back(std::move(*routing));
  return Changes{std::move(sockets)};
}

bool Changes::take() {
  bool changed = false;
  std::array<char, 8192> unread;
  for (const auto& socket : sockets_) {
    for (;;) {
      const ssize_t n = ::recv(socket.get(), unread.data(), unread.size(), 0);
      if (n < 0 && errno == EINTR) continue;
      // More than found room: all the more has changed.
      if (n > 0 || (n < 0 && errno == ENOBUFS)) {
        changed = true;
        continue;
      }
      break;
    }
  }
  return changed;
}

}  // namespace pfctl
