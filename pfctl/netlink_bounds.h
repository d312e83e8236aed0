// Walks netlink attributes within their bounds: libmnl's own loops are C macros, and take a
// message's length as rounded up to 4, past what was received.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <libmnl/libmnl.h>

namespace pfctl {

/// The message at the start of `bytes` (aligned to 4), or null when it is not there in full.
inline const nlmsghdr* first_message(std::string_view bytes) {
  const auto* header = reinterpret_cast<const nlmsghdr*>(bytes.data());
  if (bytes.size() < sizeof *header) return nullptr;
  const bool whole = header->nlmsg_len >= sizeof *header && header->nlmsg_len <= bytes.size();
  return whole ? header : nullptr;
}

/// Calls `visit(const nlattr*)` for each attribute of the `size` bytes at `first` that is there in
/// full; stops at the first that is not.
template <class Visit>
void for_each_attribute(const void* first, std::size_t size, Visit visit) {
  const auto* at = static_cast<const char*>(first);
  while (mnl_attr_ok(reinterpret_cast<const nlattr*>(at), static_cast<int>(size))) {
    const auto* attribute = reinterpret_cast<const nlattr*>(at);
    visit(attribute);
    const std::size_t step = std::min<std::size_t>(MNL_ALIGN(attribute->nla_len), size);
    at += step;
    size -= step;
  }
}

/// The attributes inside another one.
template <class Visit>
void for_each_nested(const nlattr* nest, Visit visit) {
  for_each_attribute(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), visit);
}

/// The attributes of a message behind its extra header, which must be there.
template <class Visit>
void for_each_in_message(const nlmsghdr* header, std::size_t extra, Visit visit) {
  const std::size_t offset = MNL_ALIGN(extra);
  const std::size_t size = mnl_nlmsg_get_payload_len(header);
  for_each_attribute(mnl_nlmsg_get_payload_offset(header, extra), size > offset ? size - offset : 0,
                     visit);
}

/// An attribute's text, with or without the zero at its end.
[[nodiscard]] inline std::string text_of(const nlattr* attribute) {
  const auto* text = static_cast<const char*>(mnl_attr_get_payload(attribute));
  return {text, ::strnlen(text, mnl_attr_get_payload_len(attribute))};
}

/// An attribute's number, in the byte order that it has there; 0 when the attribute is too short
/// for one.
[[nodiscard]] inline std::uint32_t number_of(const nlattr* attribute) {
  std::uint32_t value = 0;
  if (mnl_attr_get_payload_len(attribute) >= sizeof value)
    std::memcpy(&value, mnl_attr_get_payload(attribute), sizeof value);
  return value;
}

}  // namespace pfctl
