// The header in which a proxy tells a server whose connection it passes on (HAProxy's PROXY
// protocol).
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace mitm::sniff {

/// The size of the header that `bytes` begin with, of version 1 (text) or 2 (binary, up to 4 KiB).
/// 0: they begin with none. Nothing: it is not whole yet.
std::optional<std::size_t> size_of_proxy_header(std::string_view bytes);

}  // namespace mitm::sniff
