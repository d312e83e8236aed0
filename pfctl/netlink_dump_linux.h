// Asks the kernel for a list, and reads all of it.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pfctl/netlink_socket.h"

namespace pfctl {

/// `read`: one datagram of the list (netlink_dump.h).
template <class Item>
base::Result<std::vector<Item>> dump(int socket, std::string_view request,
                                     base::Result<bool> (*read)(std::string_view,
                                                                std::vector<Item>&)) {
  if (auto sent = send_datagram(socket, request); !sent) return sent.error();
  alignas(8) static thread_local std::array<char, 64 << 10> buffer;
  std::vector<Item> items;
  for (;;) {
    const auto size = receive_datagram(socket, buffer);
    if (!size) return size.error();
    const auto more = read({buffer.data(), *size}, items);
    if (!more) return more.error();
    if (!*more) return items;
  }
}

}  // namespace pfctl
