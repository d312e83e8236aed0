// Servers that go without a word.
#pragma once

namespace divert {

/// A connection that has been silent for a minute is asked whether its peer is still there
/// (SO_KEEPALIVE); when no answer comes for another minute it fails with ETIMEDOUT. A program's own
/// questions end at our socket, and many programs ask none: else both would wait for ever. Data
/// that is not acknowledged is given up when the kernel thinks so, as without us.
void keep_alive(int socket);

}  // namespace divert
