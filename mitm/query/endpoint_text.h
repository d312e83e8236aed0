// Addresses as filters see them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/network.h"

namespace mitm::query {

/// Empty: `text` is no address, or the unspecified one, which stands for an unknown one. A
/// v4-mapped IPv6 address becomes IPv4.
[[nodiscard]] std::optional<base::Address> known_address(std::string_view text);
[[nodiscard]] std::optional<base::Address> known_address(const base::Address& address);

/// "example.org:443", "192.0.2.1:443", "2001:db8::1:443": without brackets, as mitmproxy's ~src and
/// ~dst. `host`: a name or an address; empty: it is not known.
[[nodiscard]] std::string endpoint_text(std::string_view host, std::uint16_t port);

}  // namespace mitm::query
