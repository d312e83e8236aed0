// A connection needs two descriptors, a relayed one four more while bytes are in flight. macOS
// refuses more than its sysctl kern.maxfilesperproc, whatever the limit says.
#include "mitm/cli/descriptors.h"

#include <algorithm>

namespace mitm::cli {

rlimit raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return limit;
  for (const rlim_t wanted : {rlim_t{1 << 20}, limit.rlim_max, rlim_t{1 << 16}, rlim_t{10'240}}) {
    const rlimit raised{wanted, std::max(wanted, limit.rlim_max)};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) break;
  }
  return limit;
}

}  // namespace mitm::cli
