// Parses /proc/net/netlink: "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode", one socket a
// line. Eth is the protocol, Pid the port.
#include "pfctl/netlink_port.h"

#include <array>
#include <charconv>

namespace pfctl {
namespace {

constexpr std::uint64_t kNetfilterProtocol = 12;  // NETLINK_NETFILTER
enum Column : std::size_t { protocol = 1, port_number = 2, inode = 9, columns = 10 };

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

std::optional<std::array<std::string_view, columns>> split(std::string_view line) {
  std::array<std::string_view, columns> words;
  for (auto& word : words) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    word = line.substr(0, line.find(' '));
    line.remove_prefix(word.size());
    if (word.empty()) return {};
  }
  return words;
}

}  // namespace

std::optional<std::uint64_t> inode_of_netfilter_port(std::string_view proc_net_netlink,
                                                     std::uint32_t port) {
  while (!proc_net_netlink.empty()) {
    const std::string_view line = proc_net_netlink.substr(0, proc_net_netlink.find('\n'));
    proc_net_netlink.remove_prefix(std::min(line.size() + 1, proc_net_netlink.size()));
    const auto words = split(line);
    if (!words || number((*words)[protocol]) != kNetfilterProtocol) continue;
    if (number((*words)[port_number]) == port) return number((*words)[inode]);
  }
  return {};
}

}  // namespace pfctl
