// NFQUEUE: one netlink socket per queue.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>

#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own_number.h"
#include "divert/packet/nfqueue.h"
#include "divert/packet/packet_log.h"
#include "divert/packet/packet_source.h"
#include "pfctl/netlink_socket.h"

namespace divert {
namespace {

using namespace std::chrono_literals;

/// The first number that is tried. 0 is popular with other tools.
constexpr std::uint16_t kUsualNumber = base::kOwnNumber;
constexpr int kNumbersTried = 64;
/// With more CPUs than that several share a queue.
constexpr long kMaxQueues = 64;

/// First packets that wait in one queue. Programs cannot open connections fast enough to fill it
/// while it is read. What finds no room is dropped, and TCP sends it again: with
/// NFQA_CFG_F_FAIL_OPEN it would pass unseen, whatever the rules say of it, and uncounted.
constexpr std::uint32_t kQueueLength = 32768;
constexpr int kSocketRoom = 32 << 20;
/// Of one netlink message: the packet's copy and some attributes.
constexpr std::size_t kMessageRoom = 4096;

base::Error refused(std::uint16_t number, int error) {
  switch (error) {
    case EBUSY:
      return {fmt::format("queue {} belongs to another program, and so do those around it", number),
              error};
    case EPERM:
      return {fmt::format(
                  "cannot hold packets: no permission (CAP_NET_ADMIN in this network namespace), "
                  "or queue {} belongs to another program, and so do those around it",
                  number),
              error};
    case EINVAL:
    case EOPNOTSUPP:
      return {
          "this kernel cannot hold packets (CONFIG_NETFILTER_NETLINK_QUEUE); load the module "
          "nfnetlink_queue",
          error};
    default:
      return base::os_error(fmt::format("cannot open queue {}", number), error);
  }
}

base::Result<> configure(int socket, std::uint16_t number, const std::string& request) {
  if (auto sent = pfctl::send_datagram(socket, request); !sent) return sent.error();
  char buffer[kMessageRoom];
  for (;;) {
    const auto size = pfctl::receive_datagram(socket, buffer);
    if (!size) return size.error();
    std::string_view bytes{buffer, *size};
    while (auto message = nfqueue::decode(bytes)) {
      // Packets may be queued already when the second request is answered: they come again, or are
      // lost without harm, as nothing sends packets here before the rules are loaded.
      if (message->kind != nfqueue::Message::Kind::acknowledged) continue;
      if (message->error != 0) return refused(number, message->error);
      return {};
    }
  }
}

/// NFQA_GID is of use only then.
bool groups_are_numbered_as_first() {
  static const bool answer = [] {
    const auto map = base::read_file("/proc/self/gid_map", 64 << 10);
    return !map || nfqueue::numbers_as_first(*map);  // a kernel without user namespaces has none
  }();
  return answer;
}

}  // namespace

PacketSource::PacketSource(base::UniqueFd socket, std::uint16_t number)
    : socket_(std::move(socket)), number_(number), buffer_(kMessageRoom) {}

base::Result<PacketSource> PacketSource::open(std::uint16_t number) {
  auto socket = pfctl::open_netfilter_socket();
  if (!socket) return socket.error();
  const int fd = socket->get();
  if (auto bound = configure(fd, number, nfqueue::encode_bind(number)); !bound)
    return bound.error();
  if (auto set = configure(fd, number, nfqueue::encode_setup(number, kCopied, kQueueLength)); !set)
    return set.error();
  // Drops are counted by the kernel (kernel_drops); an error at every one of them would help
  // nobody.
  const int one = 1;
  ::setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kSocketRoom, sizeof kSocketRoom);
  return PacketSource{std::move(*socket), number};
}

base::Result<> PacketSource::receive(std::chrono::milliseconds patience, const Take& take) {
  if (patience != patience_) {
    const timeval limit{patience / 1s, (patience % 1s) / 1us};
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0)
      return base::os_error("cannot wait for held packets", errno);
    patience_ = patience;
  }
  // As many as could have gathered while the last ones were looked at; then deadlines have their
  // turn.
  for (int i = 0; i < 256; ++i) {
    const ssize_t n =
        ::recv(socket_.get(), buffer_.data(), buffer_.size(), i == 0 ? 0 : MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) return {};
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return base::os_error("cannot receive held packets", errno);
    std::string_view bytes{buffer_.data(), static_cast<std::size_t>(n)};
    while (auto message = nfqueue::decode(bytes)) {
      if (!groups_are_numbered_as_first()) message->gid.reset();
      if (message->kind == nfqueue::Message::Kind::packet)
        take({0, message->id, message->mark, message->interface, message->gid}, message->bytes);
    }
  }
  return {};
}

void PacketSource::release(const HeldPacket& packet, Release how, std::uint32_t mark_bit) const {
  const auto verdict = how == Release::drop ? nfqueue::Verdict::drop : nfqueue::Verdict::accept;
  const std::uint32_t mark = how == Release::divert ? packet.mark | mark_bit : packet.mark;
  const auto message = nfqueue::encode_verdict(number_, packet.id, verdict, mark);
  (void)!::send(socket_.get(), message.data(), message.size(), 0);
}

void PacketSource::refuse(const HeldPacket& packet, pfctl::Refusal how) const {
  const auto message = nfqueue::encode_verdict(number_, packet.id, nfqueue::Verdict::repeat,
                                               static_cast<std::uint32_t>(how));
  (void)!::send(socket_.get(), message.data(), message.size(), 0);
}

unsigned queue_count() {
  return static_cast<unsigned>(std::clamp(::sysconf(_SC_NPROCESSORS_CONF), 1L, kMaxQueues));
}

pfctl::Queueing usual_queueing() {
  pfctl::Queueing queueing;
  queueing.first = kUsualNumber;
  queueing.count = static_cast<std::uint16_t>(queue_count());
  queueing.dns_groups = usual_log_groups();
  queueing.dns_answers = queueing.dns_groups.back();
  queueing.dns_groups.pop_back();
  return queueing;
}

base::Result<PacketSources> open_packet_sources(unsigned count) {
  PacketSources sources;
  std::uint16_t number = kUsualNumber;
  for (int tried = 0; sources.each.size() < count; ++tried, ++number) {
    auto source = PacketSource::open(number);
    if (source) {
      if (sources.each.empty()) sources.first = number;
      sources.each.push_back(std::move(*source));
      continue;
    }
    // The kernel says EPERM of a queue that another program has, and of a process that may have
    // none.
    const int error = source.error().os_code;
    if ((error != EBUSY && error != EPERM) || tried > kNumbersTried) return source.error();
    sources.each.clear();
  }
  return sources;
}

KernelDrops kernel_drops(std::uint16_t first, std::size_t count) {
  // number, port, waiting, copy mode, copy range, dropped by the queue, dropped at our socket, last
  // id
  KernelDrops drops;
  std::ifstream file{"/proc/self/net/netfilter/nfnetlink_queue"};
  for (std::string line; std::getline(file, line);) {
    std::istringstream words{line};
    std::uint64_t number = 0, skipped = 0, queue = 0, user = 0;
    words >> number >> skipped >> skipped >> skipped >> skipped >> queue >> user;
    if (!words || number < first || number >= first + count) continue;
    drops.queue += queue;
    drops.user += user;
  }
  return drops;
}

}  // namespace divert
