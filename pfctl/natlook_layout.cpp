// pf keeps two states for a connection that is bent to lo0; the one that says where it wanted to go
// belongs to the redirect. Asked in the direction "out", with peer and own address as source and
// destination, the kernel finds it; asked "in" it finds nothing.
#include "pfctl/natlook_layout.h"

#include <algorithm>
#include <cerrno>

namespace pfctl {
namespace {

constexpr std::uint8_t kInet = 2;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kOut = 2;  // PF_OUT

// Size, group and number are part of a request: _IOWR('D', 23, struct pfioc_natlook).
constexpr bool fits_its_size(const NatlookLayout& layout) {
  return layout.request == (0xC0000000 | layout.size << 16 | std::uint32_t{'D'} << 8 | 23);
}
static_assert(fits_its_size(kNatlookDarwin) && fits_its_size(kNatlookFreebsd) &&
              fits_its_size(kNatlookOpenbsd));

void put_address(unsigned char* at, const base::Address& address) {
  if (address.is_v4()) {
    std::ranges::copy(address.to_v4().to_bytes(), at);
  } else {
    std::ranges::copy(address.to_v6().to_bytes(), at);
  }
}

base::Address address_at(const unsigned char* at, bool v4) {
  if (v4) {
    boost::asio::ip::address_v4::bytes_type bytes;
    std::copy_n(at, bytes.size(), bytes.begin());
    return boost::asio::ip::address_v4(bytes);
  }
  boost::asio::ip::address_v6::bytes_type bytes;
  std::copy_n(at, bytes.size(), bytes.begin());
  return boost::asio::ip::address_v6(bytes);
}

void put_port(unsigned char* at, std::uint16_t port) {
  at[0] = static_cast<unsigned char>(port >> 8);
  at[1] = static_cast<unsigned char>(port & 0xff);
}

std::uint16_t port_at(const unsigned char* at) {
  return static_cast<std::uint16_t>(at[0] << 8 | at[1]);
}

bool concrete(const base::Endpoint& end) {
  return end.port() != 0 && !end.address().is_unspecified();
}

}  // namespace

base::Result<NatlookRequest> encode_natlook(const NatlookLayout& layout, const base::Endpoint& peer,
                                            const base::Endpoint& local) {
  const base::Address from = base::unmapped(peer.address());
  const base::Address to = base::unmapped(local.address());
  if (from.is_v4() != to.is_v4() || !concrete(peer) || !concrete(local)) {
    return base::failure("{} and {} cannot be the ends of one connection", base::to_string(peer),
                         base::to_string(local));
  }
  NatlookRequest request;
  request.size = layout.size;
  unsigned char* at = request.room.data();
  put_address(at + kNatlookSource, from);
  put_address(at + kNatlookDestination, to);
  put_port(at + layout.source_port, peer.port());
  put_port(at + layout.destination_port, local.port());
  at[layout.family] = from.is_v4() ? kInet : layout.inet6;
  at[layout.protocol] = kTcp;
  at[layout.direction] = kOut;
  return request;
}

std::optional<OriginalTuple> decode_natlook(const NatlookLayout& layout,
                                            std::span<const unsigned char> bytes,
                                            const base::Endpoint& peer) {
  if (bytes.size() < layout.size) return {};
  const base::Address from = base::unmapped(peer.address());
  const unsigned char* at = bytes.data();
  if (at[layout.family] != (from.is_v4() ? kInet : layout.inet6)) return {};
  const std::uint16_t port = port_at(at + layout.answered_destination_port);
  if (port == 0) return {};
  const base::Endpoint source{address_at(at + kNatlookAnsweredSource, from.is_v4()),
                              port_at(at + layout.answered_source_port)};
  return OriginalTuple{
      .source = concrete(source) ? source : base::Endpoint{from, peer.port()},
      .destination = {address_at(at + kNatlookAnsweredDestination, from.is_v4()), port}};
}

base::Result<std::optional<OriginalTuple>> ask_natlook(const NatlookLayout& layout,
                                                       const base::Endpoint& peer,
                                                       const base::Endpoint& local,
                                                       const NatlookCall& call) {
  const auto question = encode_natlook(layout, peer, local);
  if (!question) return question.error();
  for (int attempt = 0; attempt < 2; ++attempt) {
    NatlookRequest request = *question;
    const int error = call(layout.request, request.room.data());
    if (error == 0) {
      if (auto original = decode_natlook(layout, request.view(), peer)) return original;
      return base::failure("pf's answer about {} is not a TCP connection", base::to_string(peer));
    }
    if (error != ENOENT) return explain_natlook(error, peer);
  }
  return std::optional<OriginalTuple>{};
}

base::Error explain_natlook(int error, const base::Endpoint& peer) {
  const std::string about =
      fmt::format("cannot ask pf where the connection of {} goes", base::to_string(peer));
  switch (error) {
    case EPERM:
    case EACCES:
      return {about + ": no permission; run as root", error};
    case E2BIG:
      return {about + ": more than one state fits; kill stale ones (pfctl -k) and connect again",
              error};
    case EINVAL:
      return {about + ": pf takes the question for incomplete", error};
    case ENODEV:
    case ENOTTY:
      return {about +
                  ": this kernel's pf does not know the request DIOCNATLOOK in the layout that "
                  "osproxy uses",
              error};
    default:
      return base::os_error(about, error);
  }
}

}  // namespace pfctl
