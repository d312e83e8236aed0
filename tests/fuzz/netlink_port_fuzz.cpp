// /proc/net/netlink as text, behind the port that is looked for.
#include <string>

#include "pfctl/netlink_port.h"
#include "tests/fuzz/kernel_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint32_t port = 0;
  if (size < sizeof port) return 0;
  std::memcpy(&port, data, sizeof port);
  const KernelBytes bytes{data + sizeof port, size - sizeof port};
  const auto inode = pfctl::inode_of_netfilter_port(bytes.view(), port);
  // It stands there, leading zeros aside.
  if (inode && bytes.view().find(std::to_string(*inode)) == std::string_view::npos)
    __builtin_trap();
  return 0;
}
