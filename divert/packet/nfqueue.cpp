// The numbers of linux/netfilter/nfnetlink_queue.h, written out so that this compiles and is tested
// everywhere. Attributes are in network order.
#include "divert/packet/nfqueue.h"

#include <algorithm>
#include <array>
#include <sstream>

#include <arpa/inet.h>

#include "base/netlink.h"
#include "pfctl/netlink_message.h"

namespace divert::nfqueue {
namespace {

namespace netlink = base::netlink;

constexpr std::uint16_t kSubsystem = 3 << 8;        // NFNL_SUBSYS_QUEUE
constexpr std::uint16_t kPacket = kSubsystem | 0;   // NFQNL_MSG_PACKET
constexpr std::uint16_t kVerdict = kSubsystem | 1;  // NFQNL_MSG_VERDICT
constexpr std::uint16_t kConfig = kSubsystem | 2;   // NFQNL_MSG_CONFIG

constexpr std::uint16_t kConfigCommand = 1, kConfigParameters = 2, kConfigLength = 3,
                        kConfigMask = 4,
                        kConfigFlags = 5;      // NFQA_CFG_*
constexpr unsigned char kBind = 1;             // NFQNL_CFG_CMD_BIND
constexpr unsigned char kCopyPacket = 2;       // NFQNL_COPY_PACKET
constexpr std::uint32_t kWholeSegments = 0x4;  // NFQA_CFG_F_GSO
constexpr std::uint32_t kMakers = 0x8;         // NFQA_CFG_F_UID_GID

constexpr std::uint16_t kPacketHeader = 1, kVerdictHeader = 2, kMark = 3, kOutDevice = 6,
                        kPayload = 10,
                        kGid = 17;  // NFQA_*
/// Attributes of a packet message. False when one of them lies about its length.
bool read_packet(std::string_view attributes, Message& message) {
  while (const auto attribute = netlink::take_attribute(attributes)) {
    const auto& [type, value] = *attribute;
    if (type == kPayload) message.bytes = value;
    if (value.size() < sizeof(std::uint32_t)) continue;
    const std::uint32_t number = netlink::network_number(value);
    if (type == kPacketHeader) message.id = number;
    if (type == kOutDevice) message.interface = number;
    if (type == kGid) message.gid = number;
    if (type == kMark) message.mark = number;
  }
  return attributes.size() < netlink::kAttributeHeader;
}

pfctl::NetlinkMessage config_message(std::uint16_t number) {
  return {kConfig, netlink::kAck, 0, 0, number};
}

}  // namespace

std::string encode_bind(std::uint16_t number) {
  auto message = config_message(number);
  message.bytes(kConfigCommand, std::array<unsigned char, 4>{kBind});
  return message.view();
}

std::string encode_setup(std::uint16_t number, std::uint32_t bytes, std::uint32_t length) {
  auto message = config_message(number);
  std::array<unsigned char, 5> parameters{0, 0, 0, 0, kCopyPacket};
  std::ranges::copy(pfctl::raw(htonl(bytes)), parameters.begin());
  message.bytes(kConfigParameters, parameters);
  message.number(kConfigLength, length);
  message.number(kConfigFlags, kWholeSegments | kMakers);
  message.number(kConfigMask, kWholeSegments | kMakers);
  return message.view();
}

std::string encode_verdict(std::uint16_t number, std::uint32_t id, Verdict verdict,
                           std::uint32_t mark) {
  pfctl::NetlinkMessage message(kVerdict, 0, 0, 0, number);
  const std::array<std::uint32_t, 2> header{htonl(static_cast<std::uint32_t>(verdict)), htonl(id)};
  message.bytes(kVerdictHeader, pfctl::raw(header));
  message.number(kMark, mark);
  return message.view();
}

std::optional<Message> decode(std::string_view& bytes) {
  const auto received = netlink::take_message(bytes);
  if (!received) return std::nullopt;
  Message message;
  if (received->type == netlink::kError) {
    const auto error = received->error();
    if (!error) return std::nullopt;
    message.kind = Message::Kind::acknowledged;
    message.error = *error;
  } else if (received->type == kPacket) {
    const bool whole = received->body.size() >= pfctl::kNfgenmsg &&
                       read_packet(received->body.substr(pfctl::kNfgenmsg), message);
    if (!whole) return std::nullopt;
    message.kind = Message::Kind::packet;
  }
  return message;
}

bool numbers_as_first(std::string_view gid_map) {
  constexpr std::uint32_t kAll = 0xffff'ffff;
  std::istringstream text{std::string(gid_map)};
  std::uint32_t first = 1, outside = 1, count = 0;
  return text >> first >> outside >> count && first == 0 && outside == 0 && count == kAll;
}

}  // namespace divert::nfqueue
