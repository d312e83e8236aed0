// divert(4): pf's `divert-to` hands SYNs to a socket. They come back changed, by the type of
// service, or pf would hand them over for ever; never, when they are to vanish. IPv6 is not
// diverted by FreeBSD's pf.
//
// Seen to work on FreeBSD 14; what becomes of a packet that a firewall stops (sendto(2) says
// EACCES) is written from ip_divert.c. What is in the packets is done by packet.cpp and
// rewrite.cpp, which are tested everywhere.
#include <cerrno>
#include <chrono>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/own_number.h"
#include "divert/packet/packet_source.h"
#include "divert/packet/packet_store.h"
#include "divert/packet/pending_connections.h"
#include "divert/packet/rewrite.h"

namespace divert {
namespace {

using namespace std::chrono_literals;

constexpr int kDivertFamily = 44;  // PF_DIVERT; before FreeBSD 14 unknown to headers and kernel
#ifdef PF_DIVERT
static_assert(kDivertFamily == PF_DIVERT);
#endif
constexpr std::uint16_t kUsualNumber = base::kOwnNumber;
constexpr int kNumbersTried = 64;
constexpr std::size_t kPacketRoom = 65536;
/// SYNs that wait for their verdict.
constexpr std::size_t kMaxHeld = 32768;

/// RFC 792.
std::uint8_t unreachable_code(pfctl::Refusal how) {
  switch (how) {
    case pfctl::Refusal::no_route:
      return 0;
    case pfctl::Refusal::host_unreachable:
      return 1;
    case pfctl::Refusal::prohibited:
      return 13;
    default:
      return 3;
  }
}

base::Error refused(std::uint16_t number, int error) {
  if (error == EADDRINUSE)
    return {
        fmt::format("divert port {} belongs to another program, and so do those around it", number),
        EBUSY};
  if (error == EPROTONOSUPPORT || error == EAFNOSUPPORT || error == EINVAL)
    return {
        "this kernel cannot divert packets (IPDIVERT); kldload ipdivert, after a look at ipfw's "
        "default rule",
        error};
  if (error == EPERM || error == EACCES)
    return {"cannot hold packets: no permission; run as root", error};
  return base::os_error(fmt::format("cannot open divert port {}", number), error);
}

/// A family of its own since FreeBSD 14, where the older way is on notice; before that a protocol
/// of IPv4. errno when empty.
base::UniqueFd divert_socket() {
  base::UniqueFd socket{::socket(kDivertFamily, SOCK_RAW | SOCK_CLOEXEC, 0)};
  if (socket || (errno != EAFNOSUPPORT && errno != EPROTONOSUPPORT)) return socket;
  return base::UniqueFd{::socket(PF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_DIVERT)};
}

}  // namespace

struct PacketSource::Store {
  PacketStore packets{kMaxHeld};
  Returned returned;
  base::UniqueFd answers;  ///< raw, for resets and ICMP errors

  /// In the place of the destination of `packet`. Its type of service is what a rule of ours lets
  /// pass on lo0: `block all` would keep it from the program.
  void answer(std::string_view packet, pfctl::Refusal how) const {
    std::string answer = how == pfctl::Refusal::reset
                             ? reset_for(packet)
                             : unreachable_for(packet, unreachable_code(how));
    if (answer.empty() || !set_tos(answer, pfctl::kTosRefusal)) return;
    sockaddr_in program{};
    program.sin_family = AF_INET;
    constexpr std::size_t kDestination = 16;
    std::copy_n(answer.data() + kDestination, sizeof program.sin_addr,
                reinterpret_cast<char*>(&program.sin_addr));
    (void)!::sendto(answers.get(), answer.data(), answer.size(), 0,
                    reinterpret_cast<const sockaddr*>(&program), sizeof program);
  }
};

PacketSource::PacketSource(base::UniqueFd socket, std::uint16_t number)
    : socket_(std::move(socket)),
      number_(number),
      buffer_(kPacketRoom),
      store_(std::make_shared<Store>()) {}

base::Result<PacketSource> PacketSource::open(std::uint16_t number) {
  base::UniqueFd socket = divert_socket();
  if (!socket) return refused(number, errno);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(number);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return refused(number, errno);
  PacketSource source{std::move(socket), number};
  source.store_->answers = base::UniqueFd{::socket(PF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)};
  const int one = 1;
  if (!source.store_->answers ||
      ::setsockopt(source.store_->answers.get(), IPPROTO_IP, IP_HDRINCL, &one, sizeof one) != 0)
    return base::os_error("cannot open a raw socket", errno);
  return source;
}

base::Result<> PacketSource::receive(std::chrono::milliseconds patience, const Take& take) {
  if (patience != patience_) {
    const timeval limit{patience / 1s, (patience % 1s) / 1us};
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0)
      return base::os_error("cannot wait for held packets", errno);
    patience_ = patience;
  }
  for (int i = 0; i < 256; ++i) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    const ssize_t n =
        ::recvfrom(socket_.get(), buffer_.data(), buffer_.size(), i == 0 ? 0 : MSG_DONTWAIT,
                   reinterpret_cast<sockaddr*>(&address), &size);
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) return {};
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return base::os_error("cannot receive held packets", errno);
    const std::string_view bytes{buffer_.data(), static_cast<std::size_t>(n)};
    if (store_->returned.notice(bytes, std::chrono::steady_clock::now()))
      return base::failure(
          "pf holds first packets again that were sent on with a verdict: a rule of its main "
          "ruleset (nat, or scrub with `reassemble tcp`) has it make states for them; use "
          "--engine redirect");
    const std::string_view way{reinterpret_cast<const char*>(&address), size};
    take({0, store_->packets.put({std::string(bytes), std::string(way)}), 0, 0}, bytes);
  }
  return {};
}

void PacketSource::release(const HeldPacket& packet, Release how,
                           std::uint32_t /*mark_bit*/) const {
  auto held = store_->packets.take(packet.id);
  if (!held || how == Release::drop) return;
  if (!set_tos(held->bytes, how == Release::divert ? pfctl::kTosDivert : pfctl::kTosPass)) return;
  const ssize_t sent = ::sendto(socket_.get(), held->bytes.data(), held->bytes.size(), 0,
                                reinterpret_cast<const sockaddr*>(held->way.data()),
                                static_cast<socklen_t>(held->way.size()));
  // A rule of the user's has stopped it (EACCES), or there is no way for it: a program whose packet
  // is not held learns it from its own connect(2).
  if (sent >= 0) return;
  if (const auto how_refused = refusal_for(errno)) store_->answer(held->bytes, *how_refused);
}

void PacketSource::refuse(const HeldPacket& packet, pfctl::Refusal how) const {
  if (const auto held = store_->packets.take(packet.id)) store_->answer(held->bytes, how);
}

unsigned queue_count() {
  return 1;  // divert-to knows one port
}

pfctl::Queueing usual_queueing() {
  pfctl::Queueing queueing;
  queueing.first = kUsualNumber;
  queueing.ipv6 = false;
  queueing.quic = false;
  return queueing;
}

base::Result<PacketSources> open_packet_sources(unsigned /*count*/) {
  PacketSources sources;
  for (std::uint16_t number = kUsualNumber;; ++number) {
    auto source = PacketSource::open(number);
    if (source) {
      sources.first = number;
      sources.each.push_back(std::move(*source));
      return sources;
    }
    if (source.error().os_code != EBUSY || number - kUsualNumber >= kNumbersTried)
      return source.error();
  }
}

KernelDrops kernel_drops(std::uint16_t /*first*/, std::size_t /*count*/) {
  return {};  // divert(4) does not count
}

}  // namespace divert
