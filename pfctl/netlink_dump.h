// Lists that the kernel sends in many messages.
#pragma once

#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/netlink.h"

namespace pfctl {

/// One datagram: `read(message, items)` for each message of the list. True: more datagrams follow.
/// An error when it is cut short, or the kernel's own.
template <class Item, class Read>
base::Result<bool> read_dump(std::string_view bytes, std::vector<Item>& items, Read read) {
  constexpr const char* kCutShort = "the kernel's list was cut short";
  while (!bytes.empty()) {
    const auto message = base::netlink::take_message(bytes);
    if (!message) return base::failure("{}", kCutShort);
    if (message->type == base::netlink::kDone) return false;
    if (message->type == base::netlink::kError) {
      const auto error = message->error();
      if (!error) return base::failure("{}", kCutShort);
      if (*error == 0) return false;
      return base::os_error("cannot list", *error);
    }
    read(*message, items);
  }
  return true;
}

}  // namespace pfctl
