// NFLOG over netlink.
#include <algorithm>
#include <cerrno>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/netlink.h"
#include "base/own_number.h"
#include "divert/packet/packet_log.h"
#include "pfctl/netlink_message.h"
#include "pfctl/netlink_socket.h"
#include "pfctl/nft_rules.h"

namespace divert {
namespace {

namespace netlink = base::netlink;

constexpr std::uint16_t kUsualGroup = base::kOwnNumber;
constexpr int kGroupsTried = 64;
/// CPUs beyond it give no copies.
constexpr long kMaxGroups = 256;
constexpr std::size_t kDatagramRoom = 64 << 10;
constexpr int kSocketRoom = 4 << 20;

constexpr std::uint16_t log_type(std::uint16_t message) {
  return NFNL_SUBSYS_ULOG << 8 | message;
}

/// The kernel's errno; 0: done.
base::Result<int> configure(int socket, const pfctl::NetlinkMessage& request) {
  if (auto sent = pfctl::send_datagram(socket, request.view()); !sent) return sent.error();
  char buffer[4096];
  for (;;) {
    const auto size = pfctl::receive_datagram(socket, buffer);
    if (!size) return size.error();
    std::string_view bytes{buffer, *size};
    const auto message = netlink::take_message(bytes);
    if (!message || message->type != netlink::kError) continue;
    const auto error = message->error();
    if (!error) return base::failure("the kernel's answer was cut");
    return *error;
  }
}

/// None, with errno's value in `error`: the kernel refuses.
base::Result<base::UniqueFd> open_group(std::uint16_t group, int& error) {
  auto socket = pfctl::open_netfilter_socket();
  if (!socket) return socket.error();
  pfctl::NetlinkMessage request(log_type(NFULNL_MSG_CONFIG), NLM_F_ACK, 1, AF_UNSPEC, group);
  nfulnl_msg_config_cmd command{};
  command.command = NFULNL_CFG_CMD_BIND;
  request.bytes(NFULA_CFG_CMD, pfctl::raw(command));
  nfulnl_msg_config_mode mode{};
  mode.copy_range = htonl(pfctl::kCopyBytes);
  mode.copy_mode = NFULNL_COPY_PACKET;
  request.bytes(NFULA_CFG_MODE, pfctl::raw(mode));
  request.number(NFULA_CFG_QTHRESH, 1);
  const auto answer = configure(socket->get(), request);
  if (!answer) return answer.error();
  error = *answer;
  return error == 0 ? std::move(*socket) : base::UniqueFd{};
}

}  // namespace

PacketLog::PacketLog(base::UniqueFd socket, std::uint16_t group)
    : socket_(std::move(socket)), group_(group), buffer_(kDatagramRoom) {}

base::Result<PacketLog> PacketLog::open(std::uint16_t group) {
  int error = 0;
  for (int i = 0; i < kGroupsTried; ++i, ++group) {
    auto socket = open_group(group, error);
    if (!socket) return socket.error();
    if (*socket) {
      ::setsockopt(socket->get(), SOL_SOCKET, SO_RCVBUFFORCE, &kSocketRoom, sizeof kSocketRoom);
      ::fcntl(socket->get(), F_SETFL, O_NONBLOCK);
      return PacketLog{std::move(*socket), group};
    }
    // EPERM is said of a group that another program has, and of a process that may have none.
    if (error != EBUSY && error != EPERM) break;
  }
  return base::os_error("cannot get copies of packets (CONFIG_NETFILTER_NETLINK_LOG)", error);
}

base::Result<bool> PacketLog::receive(const Take& take) {
  for (bool lost = false;;) {
    const ssize_t n = ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return lost;
    // Said once, with those that found room still to come.
    if (n < 0 && errno == ENOBUFS) lost = true;
    if (n < 0 && (errno == EINTR || errno == ENOBUFS)) continue;
    if (n <= 0) return base::os_error("cannot receive copies of packets", errno);
    decode_packet_log({buffer_.data(), static_cast<std::size_t>(n)}, take);
  }
}

std::vector<std::uint16_t> usual_log_groups() {
  const long cpus = std::clamp(::sysconf(_SC_NPROCESSORS_CONF), 1L, kMaxGroups);
  std::vector<std::uint16_t> groups;
  for (long i = 0; i <= cpus; ++i) groups.push_back(static_cast<std::uint16_t>(kUsualGroup + i));
  return groups;
}

base::Result<std::vector<PacketLog>> open_packet_logs() {
  std::vector<PacketLog> logs;
  std::uint16_t next = kUsualGroup;
  for (std::size_t i = usual_log_groups().size(); i > 0; --i) {
    auto log = PacketLog::open(next);
    if (!log) return log.error();
    next = static_cast<std::uint16_t>(log->group() + 1);
    logs.push_back(std::move(*log));
  }
  return logs;
}

void decode_packet_log(std::string_view bytes, const PacketLog::Take& take) {
  while (const auto message = netlink::take_message(bytes)) {
    if (message->type != log_type(NFULNL_MSG_PACKET)) continue;
    const auto attributes = netlink::behind_struct(message->body, pfctl::kNfgenmsg);
    netlink::for_each_attribute(attributes, [&](const netlink::Attribute& attribute) {
      if (attribute.type == NFULA_PAYLOAD) take(attribute.value);
    });
  }
}

}  // namespace divert
