// macOS's tables of sockets, and what it says of one descriptor.
#include <cstdint>
#include <string_view>

#include "procmap/xnu_pcblist.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  (void)procmap::parse_xnu_socket_fdinfo(bytes);
  const auto table = procmap::parse_xnu_pcblist(bytes);
  if (!table) return 0;
  // Header and trailer, and a record of 80 bytes at least for each.
  if (table->sockets.size() * 80 + 24 > size) __builtin_trap();
  for (const auto& socket : table->sockets) {
    const auto* found =
        procmap::find_socket(table->sockets, socket.local, socket.remote, procmap::Transport::tcp);
    if (!found || found->local != socket.local || found->remote != socket.remote) __builtin_trap();
  }
  return 0;
}
