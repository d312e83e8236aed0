// What the other end of a connection has yet to take from us.
#pragma once

#include <cstddef>

namespace mitm::intercept {

/// Bytes that were written to the TCP socket `fd` and have not been acknowledged: not sent yet, on their way,
/// or dropped by a receiver that had no room for them. 0 also when it cannot be told.
std::size_t unacknowledged(int fd);

}  // namespace mitm::intercept
