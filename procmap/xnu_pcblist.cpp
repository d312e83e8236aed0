// The kernel writes a header, a group of records per socket, and the header again. It tells kind
// and length of each record, and both have changed between releases: only these are relied on. A
// group begins with its xinpcb_n. Layouts: bsd/netinet/in_pcb.h, bsd/sys/socketvar.h,
// bsd/sys/proc_info.h of XNU.
#include "procmap/xnu_pcblist.h"

#include "procmap/layout.h"

namespace procmap {
namespace {

constexpr std::size_t kHeader = 24;  // struct xinpgen
constexpr std::size_t kRecordHead = 8;

// XSO_SOCKET, XSO_INPCB, XSO_TCPCB
constexpr std::uint32_t kSocket = 0x01, kInpcb = 0x10, kTcpcb = 0x20;
// As much of each as is read.
constexpr std::size_t kSocketLeast = 72, kInpcbLeast = 80, kTcpcbLeast = 40;

constexpr std::uint8_t kV6 = 0x2;  // INP_IPV6

constexpr std::size_t kFdinfoLeast = 328;
constexpr std::int32_t kAfInet = 2, kAfInet6 = 30;            // macOS's numbers
constexpr std::int32_t kKindIn = 1, kKindTcp = 2, kUdp = 17;  // SOCKINFO_IN, SOCKINFO_TCP

constexpr std::size_t padded(std::size_t size) {
  return (size + 7) & ~std::size_t{7};
}

void read_inpcb(std::string_view record, BsdSocket& socket) {
  // A socket that takes both families has both bits; its address is then one of IPv6.
  const bool v6 = (static_cast<std::uint8_t>(record[44]) & kV6) != 0;
  socket.remote = {without_scope(address_at(record, 48, v6)), port_at(record, 16)};
  socket.local = {without_scope(address_at(record, 64, v6)), port_at(record, 18)};
}

void read_socket(std::string_view record, BsdSocket& socket) {
  socket.name = number_at<std::uint64_t>(record, 8);
  socket.uid = number_at<std::uint32_t>(record, 64);
  socket.last_pid = number_at<std::int32_t>(record, 68);
  if (record.size() >= 76) socket.effective_pid = number_at<std::int32_t>(record, 72);
}

base::Error cut(std::size_t offset, std::size_t size) {
  return base::failure("the kernel's table of sockets is cut: record at byte {} of {}", offset,
                       size);
}

std::size_t least_size(std::uint32_t kind) {
  if (kind == kInpcb) return kInpcbLeast;
  if (kind == kSocket) return kSocketLeast;
  return kind == kTcpcb ? kTcpcbLeast : kRecordHead;
}

}  // namespace

base::Result<BsdTable> parse_xnu_pcblist(std::string_view bytes) {
  if (bytes.size() < kHeader) return cut(0, bytes.size());
  const std::size_t header = number_at<std::uint32_t>(bytes, 0);
  if (header < kHeader || padded(header) > bytes.size()) return cut(0, bytes.size());
  const auto generation = number_at<std::uint64_t>(bytes, 8);
  BsdTable table;
  std::size_t at = padded(header);
  // Without sockets there is no second header.
  if (at == bytes.size() && number_at<std::uint32_t>(bytes, 4) == 0) return table;
  while (bytes.size() - at >= kRecordHead) {
    const std::size_t length = number_at<std::uint32_t>(bytes, at);
    if (length < kRecordHead || length > bytes.size() - at) return cut(at, bytes.size());
    // No record is as short as the header; should the header grow, it is still the last one.
    if (length <= kHeader || (length == header && at + padded(length) >= bytes.size())) {
      if (length < kHeader) return cut(at, bytes.size());
      table.changed = number_at<std::uint64_t>(bytes, at + 8) != generation;
      return table;
    }
    const auto record = bytes.substr(at, length);
    const auto kind = number_at<std::uint32_t>(record, 4);
    if (length < least_size(kind))
      return base::failure(
          "the kernel's table of sockets has records of kind {:#x} with {} bytes: this release of "
          "macOS is not known",
          kind, length);
    if (kind == kInpcb) {
      read_inpcb(record, table.sockets.emplace_back());
    } else if (!table.sockets.empty()) {
      if (kind == kSocket) read_socket(record, table.sockets.back());
      if (kind == kTcpcb) table.sockets.back().state = number_at<std::int32_t>(record, 36);
    }
    if (padded(length) > bytes.size() - at) return cut(at, bytes.size());
    at += padded(length);
  }
  return cut(at, bytes.size());
}

std::optional<XnuDescriptor> parse_xnu_socket_fdinfo(std::string_view bytes) {
  if (bytes.size() < kFdinfoLeast) return std::nullopt;
  const auto family = number_at<std::int32_t>(bytes, 184);
  const auto kind = number_at<std::int32_t>(bytes, 256);
  const auto protocol = number_at<std::int32_t>(bytes, 180);
  if (family != kAfInet && family != kAfInet6) return std::nullopt;
  const bool tcp = kind == kKindTcp;
  if (!tcp && (kind != kKindIn || protocol != kUdp)) return std::nullopt;
  const bool v6 = (static_cast<std::uint8_t>(bytes[288]) & kV6) != 0;
  XnuDescriptor descriptor;
  descriptor.socket.name = number_at<std::uint64_t>(bytes, 160);
  descriptor.transport = tcp ? Transport::tcp : Transport::udp;
  // Ports: an int whose first two bytes are the port in network order.
  descriptor.socket.remote = {without_scope(address_at(bytes, 296, v6)), port_at(bytes, 264)};
  descriptor.socket.local = {without_scope(address_at(bytes, 312, v6)), port_at(bytes, 268)};
  return descriptor;
}

}  // namespace procmap
