// Original tuples from conntrack: one question and one answer per connection on a socket kept open.
#include <array>
#include <cerrno>

#include "pfctl/ctnetlink.h"
#include "pfctl/natlook.h"
#include "pfctl/netlink_socket.h"

namespace pfctl {
namespace {

using Kind = ConntrackAnswer::Kind;

// A connection's answer has some 300 bytes; labels, a helper and a security context make it a
// little longer.
constexpr std::size_t kAnswerRoom = 8 << 10;

// An answer that came after its question had been given up is skipped; there are few of those.
constexpr int kMaxForeignAnswers = 16;

base::Error refused(int error) {
  if (error == EPERM) {
    return {"cannot ask conntrack for original destinations: no permission; run as root", error};
  }
  if (error == EINVAL || error == EOPNOTSUPP) {
    return {
        "this kernel cannot be asked for original destinations (CONFIG_NF_CT_NETLINK); load the "
        "module nf_conntrack_netlink",
        error};
  }
  return base::os_error("cannot ask conntrack for an original destination", error);
}

base::Endpoint unmapped(const base::Endpoint& endpoint) {
  return {base::unmapped(endpoint.address()), endpoint.port()};
}

}  // namespace

base::Result<Natlook> Natlook::open() {
  auto socket = open_netfilter_socket();
  if (!socket) return socket.error();
  Natlook natlook(std::move(*socket));
  // No connection has port 0: whatever else but "unknown" comes back would come back for every
  // connection.
  const base::Endpoint unused{boost::asio::ip::address_v4::loopback(), 0};
  if (const auto probe = natlook.lookup(unused, unused); !probe) return probe.error();
  return natlook;
}

base::Result<std::optional<OriginalTuple>> Natlook::lookup(const base::Endpoint& peer,
                                                           const base::Endpoint& local) {
  const base::Endpoint source = unmapped(local);
  const base::Endpoint destination = unmapped(peer);
  if (source.address().is_v4() != destination.address().is_v4()) {
    return base::failure("{} and {} cannot be the ends of one connection", base::to_string(peer),
                         base::to_string(local));
  }
  const std::string query = encode_conntrack_query(++sequence_, source, destination);
  if (auto sent = send_datagram(socket_.get(), query); !sent) return sent.error();
  alignas(8) std::array<char, kAnswerRoom> buffer;
  for (int skipped = 0; skipped < kMaxForeignAnswers; ++skipped) {
    const auto length = receive_datagram(socket_.get(), buffer);
    if (!length) return length.error();
    const ConntrackAnswer answer = decode_conntrack_answer({buffer.data(), *length}, sequence_);
    switch (answer.kind) {
      case Kind::found:
        return std::optional{answer.original};
      case Kind::unknown:
        return std::optional<OriginalTuple>{};
      case Kind::refused:
        return refused(answer.error);
      case Kind::malformed:
        return base::failure("conntrack's answer about {} is not a TCP connection",
                             base::to_string(peer));
      case Kind::foreign:
        break;
    }
  }
  return base::failure("conntrack does not answer about {}", base::to_string(peer));
}

}  // namespace pfctl
