#include "base/netlink.h"

#include <algorithm>

#include <arpa/inet.h>

#include "base/error.h"

namespace base::netlink {
namespace {

constexpr std::size_t kTypeAt = 4, kFlagsAt = 6, kSequenceAt = 8;
constexpr std::uint16_t kTypeMask = 0x3fff;  // NLA_TYPE_MASK

constexpr std::size_t aligned(std::size_t size) {
  return (size + 3) & ~std::size_t{3};
}

template <class Number>
void put(std::string& bytes, std::size_t offset, Number value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

template <class Number>
std::string_view view_of(const Number& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

Writer::Writer(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence)
    : bytes_(kHeader, '\0') {
  put(bytes_, 0, static_cast<std::uint32_t>(bytes_.size()));
  put(bytes_, kTypeAt, type);
  put(bytes_, kFlagsAt, static_cast<std::uint16_t>(kRequest | flags));
  put(bytes_, kSequenceAt, sequence);
}

void Writer::append(std::string_view bytes) {
  bytes_.append(bytes);
  bytes_.resize(aligned(bytes_.size()));
  put(bytes_, 0, static_cast<std::uint32_t>(bytes_.size()));
}

void Writer::attribute(std::uint16_t type, std::string_view value) {
  const auto size = static_cast<std::uint16_t>(kAttributeHeader + value.size());
  bytes_.append(view_of(size)).append(view_of(type));
  append(value);
}

void Writer::set_size(std::size_t nest) {
  put(bytes_, nest, static_cast<std::uint16_t>(bytes_.size() - nest));
}

void Writer::text(std::uint16_t type, std::string_view value) {
  attribute(type, std::string(value) + '\0');
}

void Writer::number(std::uint16_t type, std::uint32_t value) {
  attribute(type, view_of(htonl(value)));
}

void Writer::big_number(std::uint16_t type, std::uint64_t value) {
  const std::uint32_t halves[] = {htonl(static_cast<std::uint32_t>(value >> 32U)),
                                  htonl(static_cast<std::uint32_t>(value))};
  attribute(type, view_of(halves));
}

void Writer::bytes(std::uint16_t type, std::span<const unsigned char> value) {
  attribute(type, {reinterpret_cast<const char*>(value.data()), value.size()});
}

std::optional<int> Message::error() const {
  if (body.size() < sizeof(std::int32_t)) return std::nullopt;
  return netlink_errno(number_at<std::int32_t>(body, 0));
}

std::optional<Message> take_message(std::string_view& bytes) {
  if (bytes.size() < kHeader) return std::nullopt;
  const std::size_t size = number_at<std::uint32_t>(bytes, 0);
  if (size < kHeader || size > bytes.size()) return std::nullopt;
  const Message message{number_at<std::uint16_t>(bytes, kTypeAt),
                        number_at<std::uint32_t>(bytes, kSequenceAt),
                        bytes.substr(kHeader, size - kHeader)};
  bytes.remove_prefix(std::min(aligned(size), bytes.size()));
  return message;
}

std::optional<Attribute> take_attribute(std::string_view& bytes) {
  if (bytes.size() < kAttributeHeader) return std::nullopt;
  const std::size_t size = number_at<std::uint16_t>(bytes, 0);
  if (size < kAttributeHeader || size > bytes.size()) return std::nullopt;
  const Attribute attribute{
      static_cast<std::uint16_t>(number_at<std::uint16_t>(bytes, 2) & kTypeMask),
      bytes.substr(kAttributeHeader, size - kAttributeHeader)};
  bytes.remove_prefix(std::min(aligned(size), bytes.size()));
  return attribute;
}

std::string_view behind_struct(std::string_view body, std::size_t size) {
  return body.substr(std::min(aligned(size), body.size()));
}

std::uint32_t host_number(std::string_view value) {
  return value.size() >= sizeof(std::uint32_t) ? number_at<std::uint32_t>(value, 0) : 0;
}

std::uint32_t network_number(std::string_view value) {
  return ntohl(host_number(value));
}

std::string text_of(std::string_view value) {
  return std::string(value.substr(0, value.find('\0')));
}

}  // namespace base::netlink
