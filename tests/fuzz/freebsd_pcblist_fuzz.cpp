// FreeBSD's tables of sockets and open files; the first byte says which.
#include <cstdint>
#include <string_view>

#include "procmap/freebsd_pcblist.h"

namespace {

using procmap::Transport;

void read_sockets(std::string_view bytes, Transport transport) {
  const auto table = procmap::parse_freebsd_pcblist(bytes, transport);
  if (!table) return;
  if (table->sockets.size() * 400 + 64 > bytes.size()) __builtin_trap();
  for (const auto& socket : table->sockets) {
    const auto* found =
        procmap::find_socket(table->sockets, socket.local, socket.remote, Transport::tcp);
    if (!found || found->local != socket.local || found->remote != socket.remote) __builtin_trap();
  }
}

void read_files(std::string_view bytes) {
  const auto holders = procmap::parse_freebsd_files(bytes);
  if (!holders) return;
  if (holders->size() * 128 > bytes.size()) __builtin_trap();
  for (const auto& holder : *holders) {
    const auto* found = procmap::find_holder(*holders, holder.socket);
    if (holder.socket != 0 && (!found || found->pid < holder.pid)) __builtin_trap();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
  if (data[0] % 3 == 0) read_sockets(bytes, Transport::tcp);
  if (data[0] % 3 == 1) read_sockets(bytes, Transport::udp);
  if (data[0] % 3 == 2) read_files(bytes);
  return 0;
}
