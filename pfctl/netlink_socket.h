// A socket to the kernel's netfilter alone.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace pfctl {

/// Connected to the kernel (no other process can send to it), close-on-exec; receiving gives up
/// after a second, so that nothing blocks for ever. Error: no netfilter in this kernel.
[[nodiscard]] base::Result<base::UniqueFd> open_netfilter_socket();

/// Sends `bytes` as one datagram. The kernel handles it before this returns.
[[nodiscard]] base::Result<> send_datagram(int socket, std::string_view bytes);

/// One datagram, put into `buffer`; its length. An error when it does not fit or none comes in time
/// (EAGAIN).
[[nodiscard]] base::Result<std::size_t> receive_datagram(int socket, std::span<char> buffer);

}  // namespace pfctl
