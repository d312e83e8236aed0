// sysctl net.netfilter.nf_conntrack_count and nf_conntrack_max.
#include <fstream>

#include "pfctl/conntrack_use.h"

namespace pfctl {

std::optional<ConntrackUse> conntrack_use() {
  ConntrackUse use;
  std::ifstream count{"/proc/sys/net/netfilter/nf_conntrack_count"};
  std::ifstream limit{"/proc/sys/net/netfilter/nf_conntrack_max"};
  if (!(count >> use.count) || !(limit >> use.limit) || use.limit == 0) return std::nullopt;
  return use;
}

}  // namespace pfctl
