// What lsof prints.
#include <cstdint>
#include <string_view>

#include "procmap/lsof.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const auto sockets = procmap::parse_lsof(text);
  for (const auto& socket : sockets) {
    if (socket.socket.last_pid <= 0 || socket.descriptor < 0) __builtin_trap();
    const auto* found =
        procmap::find_lsof(sockets, socket.socket.local, socket.socket.remote, socket.transport);
    if (!found || found->transport != socket.transport) __builtin_trap();
  }
  return 0;
}
