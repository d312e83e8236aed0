// The kernel writes a header, a record per socket, and the header again with what holds by then.
// All integers are of fixed width since FreeBSD 12. Layouts: sys/netinet/in_pcb.h,
// sys/netinet/tcp_var.h, sys/sys/socketvar.h, sys/sys/file.h; attribution_freebsd.cpp asserts them
// where the system has them.
#include "procmap/freebsd_pcblist.h"

#include "procmap/layout.h"

namespace procmap {
namespace {

constexpr std::size_t kHeader = 64;      // struct xinpgen
constexpr std::size_t kTcpRecord = 744;  // struct xtcpcb
constexpr std::size_t kUdpRecord = 400;  // struct xinpcb
constexpr std::size_t kFile = 128;       // struct xfile
constexpr std::size_t kInTcpRecord = 8;  // xt_inp
constexpr std::size_t kTcpState = 568;   // t_state

// In struct xinpcb: xi_socket begins at 8, inp_inc at 248.
constexpr std::size_t kSocket = 16, kUid = 128, kRemotePort = 252, kLocalPort = 254, kRemote = 256,
                      kLocal = 272, kVflag = 392;
constexpr std::uint8_t kV6 = 0x2;  // INP_IPV6

constexpr std::int16_t kTypeSocket = 2;  // DTYPE_SOCKET

BsdSocket read_socket(std::string_view inpcb) {
  // A socket that takes both families has both bits; its address is then one of IPv6.
  const bool v6 = (static_cast<std::uint8_t>(inpcb[kVflag]) & kV6) != 0;
  BsdSocket socket;
  socket.local = {without_scope(address_at(inpcb, kLocal, v6)), port_at(inpcb, kLocalPort)};
  socket.remote = {without_scope(address_at(inpcb, kRemote, v6)), port_at(inpcb, kRemotePort)};
  socket.name = number_at<std::uint64_t>(inpcb, kSocket);
  socket.uid = number_at<std::uint32_t>(inpcb, kUid);
  return socket;
}

base::Error cut(const char* table, std::size_t offset, std::size_t size) {
  return base::failure("the kernel's table of {} is cut: record at byte {} of {}", table, offset,
                       size);
}

base::Error unknown(const char* table, std::uint64_t length, std::size_t least) {
  return base::failure(
      "the kernel's table of {} has records of {} bytes where {} were expected: this release of "
      "FreeBSD is not known",
      table, length, least);
}

}  // namespace

base::Result<BsdTable> parse_freebsd_pcblist(std::string_view bytes, Transport transport) {
  if (bytes.size() < kHeader) return cut("sockets", 0, bytes.size());
  const auto header = number_at<std::uint64_t>(bytes, 0);
  if (header < kHeader) return unknown("sockets", header, kHeader);
  if (header > bytes.size()) return cut("sockets", 0, bytes.size());
  const auto generation = number_at<std::uint64_t>(bytes, 16);
  const std::size_t least = transport == Transport::tcp ? kTcpRecord : kUdpRecord;
  BsdTable table;
  std::size_t at = header;
  if (at == bytes.size() && number_at<std::uint32_t>(bytes, 8) == 0) return table;
  while (bytes.size() - at >= sizeof(std::uint64_t)) {
    const auto length = number_at<std::uint64_t>(bytes, at);
    if (length == 0 || length > bytes.size() - at) return cut("sockets", at, bytes.size());
    if (length == header) {
      table.changed = number_at<std::uint64_t>(bytes, at + 16) != generation;
      return table;
    }
    if (length < least) return unknown("sockets", length, least);
    const auto record = bytes.substr(at, length);
    if (transport == Transport::tcp) {
      auto& socket = table.sockets.emplace_back(read_socket(record.substr(kInTcpRecord)));
      socket.state = number_at<std::int32_t>(record, kTcpState);
    } else {
      table.sockets.push_back(read_socket(record));
    }
    at += length;
  }
  return cut("sockets", at, bytes.size());
}

base::Result<std::vector<SocketHolder>> parse_freebsd_files(std::string_view bytes) {
  std::vector<SocketHolder> holders;
  std::size_t at = 0;
  while (at < bytes.size()) {
    if (bytes.size() - at < sizeof(std::uint64_t)) return cut("open files", at, bytes.size());
    const auto length = number_at<std::uint64_t>(bytes, at);
    if (length == 0 || length > bytes.size() - at) return cut("open files", at, bytes.size());
    if (length < kFile) return unknown("open files", length, kFile);
    const auto record = bytes.substr(at, length);
    if (number_at<std::int16_t>(record, 32) == kTypeSocket)
      holders.push_back({number_at<std::uint64_t>(record, 56), number_at<std::int32_t>(record, 8),
                         number_at<std::uint32_t>(record, 12),
                         number_at<std::int32_t>(record, 16)});
    at += length;
  }
  return holders;
}

const SocketHolder* find_holder(const std::vector<SocketHolder>& holders, std::uint64_t socket) {
  const SocketHolder* found = nullptr;
  if (socket == 0) return found;
  for (const auto& holder : holders) {
    if (holder.socket == socket && (!found || holder.pid > found->pid)) found = &holder;
  }
  return found;
}

}  // namespace procmap
