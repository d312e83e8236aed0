// Lists that the kernel sends in many messages.
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pfctl/netlink_bounds.h"

namespace pfctl {

/// One datagram: `read(header, items)` for each message of the list. True: more datagrams follow.
/// An error when it is cut short, or the kernel's own.
template <class Item, class Read>
base::Result<bool> read_dump(std::string_view bytes, std::vector<Item>& items, Read read) {
  while (!bytes.empty()) {
    const nlmsghdr* header = first_message(bytes);
    if (!header) return base::failure("the kernel's list was cut short");
    bytes.remove_prefix(std::min<std::size_t>(MNL_ALIGN(header->nlmsg_len), bytes.size()));
    if (header->nlmsg_type == NLMSG_DONE) return false;
    if (header->nlmsg_type == NLMSG_ERROR) {
      std::int32_t error = 0;
      if (mnl_nlmsg_get_payload_len(header) < sizeof error)
        return base::failure("the kernel's list was cut short");
      std::memcpy(&error, mnl_nlmsg_get_payload(header), sizeof error);
      if (error == 0) return false;
      return base::os_error("cannot list", base::netlink_errno(error));
    }
    read(header, items);
  }
  return true;
}

}  // namespace pfctl
