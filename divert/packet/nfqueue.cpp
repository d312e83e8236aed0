// Layouts from linux/netlink.h, linux/netfilter/nfnetlink.h and nfnetlink_queue.h, written out by
// offset so that they compile and are tested everywhere. Headers are in host byte order, attributes
// in network order.
#include "divert/packet/nfqueue.h"

#include <algorithm>
#include <cstring>
#include <sstream>

#include <arpa/inet.h>

#include "base/error.h"

namespace divert::nfqueue {
namespace {

constexpr std::uint16_t kError = 2;                  // NLMSG_ERROR
constexpr std::uint16_t kSubsystem = 3 << 8;         // NFNL_SUBSYS_QUEUE
constexpr std::uint16_t kPacket = kSubsystem | 0;    // NFQNL_MSG_PACKET
constexpr std::uint16_t kVerdict = kSubsystem | 1;   // NFQNL_MSG_VERDICT
constexpr std::uint16_t kConfig = kSubsystem | 2;    // NFQNL_MSG_CONFIG
constexpr std::uint16_t kRequest = 0x1, kAck = 0x4;  // NLM_F_REQUEST, NLM_F_ACK

constexpr std::uint16_t kConfigCommand = 1, kConfigParameters = 2, kConfigLength = 3,
                        kConfigMask = 4,
                        kConfigFlags = 5;      // NFQA_CFG_*
constexpr char kBind = 1;                      // NFQNL_CFG_CMD_BIND
constexpr char kCopyPacket = 2;                // NFQNL_COPY_PACKET
constexpr std::uint32_t kWholeSegments = 0x4;  // NFQA_CFG_F_GSO
constexpr std::uint32_t kMakers = 0x8;         // NFQA_CFG_F_UID_GID

constexpr std::uint16_t kPacketHeader = 1, kVerdictHeader = 2, kMark = 3, kOutDevice = 6,
                        kPayload = 10,
                        kGid = 17;           // NFQA_*
constexpr std::uint16_t kTypeMask = 0x3fff;  // NLA_TYPE_MASK

constexpr std::size_t kNetlinkHeader = 16, kHeader = kNetlinkHeader + 4, kAttributeHeader = 4;

constexpr std::size_t aligned(std::size_t size) {
  return (size + 3) & ~std::size_t{3};
}

template <class Number>
void put(char* at, Number value) {
  std::memcpy(at, &value, sizeof value);
}

template <class Number>
Number get(std::string_view bytes, std::size_t offset) {
  Number value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

void put_header(char* at, std::size_t size, std::uint16_t type, std::uint16_t flags,
                std::uint16_t number) {
  put(at, static_cast<std::uint32_t>(size));
  put(at + 4, type);
  put(at + 6, flags);
  put(at + kNetlinkHeader + 2, htons(number));  // nfgenmsg.res_id
}

void append_attribute(std::string& message, std::uint16_t type, std::string_view value) {
  const std::size_t start = message.size();
  message.resize(start + aligned(kAttributeHeader + value.size()));
  put(message.data() + start, static_cast<std::uint16_t>(kAttributeHeader + value.size()));
  put(message.data() + start + 2, type);
  std::memcpy(message.data() + start + kAttributeHeader, value.data(), value.size());
}

std::string big_endian(std::uint32_t value) {
  std::string bytes(sizeof value, '\0');
  put(bytes.data(), htonl(value));
  return bytes;
}

std::string config_message(std::uint16_t number, const std::string& attributes) {
  std::string message(kHeader, '\0');
  put_header(message.data(), kHeader + attributes.size(), kConfig, kRequest | kAck, number);
  return message + attributes;
}

/// Attributes of a packet message. False when one of them lies about its length.
bool read_packet(std::string_view attributes, Message& message) {
  while (attributes.size() >= kAttributeHeader) {
    const std::size_t length = get<std::uint16_t>(attributes, 0);
    const auto type = static_cast<std::uint16_t>(get<std::uint16_t>(attributes, 2) & kTypeMask);
    if (length < kAttributeHeader || length > attributes.size()) return false;
    const auto value = attributes.substr(kAttributeHeader, length - kAttributeHeader);
    if (type == kPayload) message.bytes = value;
    if (type == kPacketHeader && value.size() >= 4)
      message.id = ntohl(get<std::uint32_t>(value, 0));
    if (type == kOutDevice && value.size() >= 4)
      message.interface = ntohl(get<std::uint32_t>(value, 0));
    if (type == kGid && value.size() >= 4) message.gid = ntohl(get<std::uint32_t>(value, 0));
    if (type == kMark && value.size() >= 4) message.mark = ntohl(get<std::uint32_t>(value, 0));
    attributes.remove_prefix(std::min(aligned(length), attributes.size()));
  }
  return true;
}

}  // namespace

std::string encode_bind(std::uint16_t number) {
  std::string attributes;
  append_attribute(attributes, kConfigCommand, std::string_view("\x01\0\0\0", 4));
  static_assert(kBind == 1);
  return config_message(number, attributes);
}

std::string encode_setup(std::uint16_t number, std::uint32_t bytes, std::uint32_t length) {
  std::string attributes;
  append_attribute(attributes, kConfigParameters, big_endian(bytes) + kCopyPacket);
  append_attribute(attributes, kConfigLength, big_endian(length));
  append_attribute(attributes, kConfigFlags, big_endian(kWholeSegments | kMakers));
  append_attribute(attributes, kConfigMask, big_endian(kWholeSegments | kMakers));
  return config_message(number, attributes);
}

std::array<char, kVerdictSize> encode_verdict(std::uint16_t number, std::uint32_t id,
                                              Verdict verdict, std::uint32_t mark) {
  std::array<char, kVerdictSize> message{};
  char* at = message.data();
  put_header(at, message.size(), kVerdict, kRequest, number);
  at += kHeader;
  put(at, std::uint16_t{12});
  put(at + 2, kVerdictHeader);
  put(at + 4, htonl(static_cast<std::uint32_t>(verdict)));
  put(at + 8, htonl(id));
  at += 12;
  put(at, std::uint16_t{8});
  put(at + 2, kMark);
  put(at + 4, htonl(mark));
  return message;
}

std::optional<Message> decode(std::string_view& bytes) {
  if (bytes.size() < kNetlinkHeader) return std::nullopt;
  const std::size_t length = get<std::uint32_t>(bytes, 0);
  if (length < kNetlinkHeader || length > bytes.size()) return std::nullopt;
  const auto type = get<std::uint16_t>(bytes, 4);
  const std::string_view whole = bytes.substr(0, length);
  bytes.remove_prefix(std::min(aligned(length), bytes.size()));
  Message message;
  if (type == kError) {
    if (whole.size() < kNetlinkHeader + 4) return std::nullopt;
    message.kind = Message::Kind::acknowledged;
    message.error = base::netlink_errno(get<std::int32_t>(whole, kNetlinkHeader));
  } else if (type == kPacket) {
    if (whole.size() < kHeader || !read_packet(whole.substr(kHeader), message)) return std::nullopt;
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
