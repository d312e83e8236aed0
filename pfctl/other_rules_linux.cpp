// The calls behind it. Tables of legacy iptables are read with getsockopt(2), as iptables-legacy
// does.
#include <array>
#include <cstring>
#include <fstream>
#include <optional>

#include <fmt/format.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "pfctl/netlink_dump_linux.h"
#include "pfctl/netlink_message.h"
#include "pfctl/other_rules.h"

namespace pfctl {
namespace {

constexpr int kGetInfo = 64,
              kGetEntries = 65;        // IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES; IP6T_ the same
constexpr std::size_t kNameSize = 32;  // XT_TABLE_MAXNAMELEN
constexpr std::size_t kInfoSize = 84, kSizeInInfo = 80;        // struct ipt_getinfo
constexpr std::size_t kSizeInEntries = 32, kEntriesHead = 40;  // struct ipt_get_entries
constexpr int kTries = 3;

constexpr std::size_t kHooksInInfo = 32, kFirstInInfo = 36, kLastInInfo = 56;
// Of linux/netfilter.h, which does not go with netinet/in.h.
constexpr unsigned kOutputHook = 3;  // NF_INET_LOCAL_OUT

struct Table {
  std::string entries;
  std::optional<XtablesChain> output;
};

std::uint32_t number_at(const std::array<char, kInfoSize>& info, std::size_t offset) {
  std::uint32_t number = 0;
  std::memcpy(&number, info.data() + offset, sizeof number);
  return number;
}

std::optional<XtablesChain> output_in(const std::array<char, kInfoSize>& info) {
  if ((number_at(info, kHooksInInfo) & 1U << kOutputHook) == 0) return {};
  constexpr std::size_t kOffset = kOutputHook * sizeof(std::uint32_t);
  return XtablesChain{number_at(info, kFirstInInfo + kOffset),
                      number_at(info, kLastInInfo + kOffset)};
}

/// Table `name`; empty when it cannot be read, or changes all the time.
Table query_table(int socket, bool ipv6, const std::string& name) {
  const int level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
  for (int i = 0; i < kTries && name.size() < kNameSize; ++i) {
    std::array<char, kInfoSize> info{};
    std::memcpy(info.data(), name.data(), name.size());
    socklen_t length = kInfoSize;
    if (::getsockopt(socket, level, kGetInfo, info.data(), &length) != 0) return {};
    const std::uint32_t size = number_at(info, kSizeInInfo);
    std::string table(kEntriesHead + size, '\0');
    std::memcpy(table.data(), name.data(), name.size());
    std::memcpy(table.data() + kSizeInEntries, &size, sizeof size);
    length = static_cast<socklen_t>(table.size());
    if (::getsockopt(socket, level, kGetEntries, table.data(), &length) == 0)
      return {table.substr(kEntriesHead), output_in(info)};
  }
  return {};
}

void read_legacy_tables(bool ipv6, std::vector<OtherRule>& rules) {
  // Asking for a table that is not there would make it.
  std::ifstream names{ipv6 ? "/proc/self/net/ip6_tables_names" : "/proc/self/net/ip_tables_names"};
  const base::UniqueFd socket{
      ::socket(ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)};
  if (!socket) return;
  for (std::string name; std::getline(names, name);) {
    const auto label = fmt::format("{} {}", ipv6 ? "ip6tables" : "iptables", name);
    const Table table = query_table(socket.get(), ipv6, name);
    read_xtables_entries(table.entries, ipv6, label, table.output, rules);
  }
}

bool is_loopback_down() {
  const base::UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  return socket && ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 &&
         (request.ifr_flags & IFF_UP) == 0;
}

}  // namespace

base::Result<std::vector<std::string>> find_conflicts(const Ruleset& ruleset) {
  OtherRules others;
  auto chains = output_chains();
  if (!chains) return chains.error();
  others.chains = std::move(*chains);
  const auto socket = open_netfilter_socket();
  if (!socket) return socket.error();
  const NetlinkMessage request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, NLM_F_DUMP, 1,
                               AF_UNSPEC, 0);
  auto rules = dump(socket->get(), request.view(), read_other_rule_dump);
  if (!rules) return rules.error();
  others.rules = std::move(*rules);
  for (const bool ipv6 : {false, true}) read_legacy_tables(ipv6, others.rules);
  auto routing = mark_rules();
  if (!routing) return routing.error();
  others.routing = std::move(*routing);
  others.loopback_down = is_loopback_down();
  return conflicts(others, ruleset);
}

}  // namespace pfctl
