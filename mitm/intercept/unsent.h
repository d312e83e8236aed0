// What a socket's kernel has yet to send.
#pragma once

#include <cstddef>

namespace mitm::intercept {

/// Bytes that were written to the TCP socket `fd` and have not been sent (Linux), or not been acknowledged
/// (pf systems: they count no other way). 0 also when it cannot be told.
std::size_t unsent(int fd);

}  // namespace mitm::intercept
