// The sockets behind the dumps.
#include <cerrno>

#include <linux/fib_rules.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/netlink.h"
#include "pfctl/foreign_rules.h"
#include "pfctl/netlink_dump_linux.h"
#include "pfctl/netlink_message.h"
#include "pfctl/netlink_socket.h"

namespace pfctl {
base::Result<std::vector<OutputChain>> output_chains() {
  const auto socket = open_netfilter_socket();
  if (!socket) return socket.error();
  const NetlinkMessage request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NLM_F_DUMP, 1,
                               AF_UNSPEC, 0);
  return dump(socket->get(), request.view(), read_chain_dump);
}

base::Result<std::vector<MarkRule>> mark_rules() {
  const base::UniqueFd socket{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
  const timeval limit{.tv_sec = 1, .tv_usec = 0};
  if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0)
    return base::os_error("cannot open a netlink socket", errno);
  std::vector<MarkRule> rules;
  for (const int family : {AF_INET, AF_INET6}) {
    base::netlink::Writer request(RTM_GETRULE, NLM_F_DUMP, 0);
    fib_rule_hdr rule{};
    rule.family = static_cast<std::uint8_t>(family);
    request.append({reinterpret_cast<const char*>(&rule), sizeof rule});
    const auto of_family = dump(socket.get(), request.view(), read_rule_dump);
    // A kernel without policy routing, or without this family.
    if (!of_family) continue;
    rules.insert(rules.end(), of_family->begin(), of_family->end());
  }
  return rules;
}

}  // namespace pfctl
