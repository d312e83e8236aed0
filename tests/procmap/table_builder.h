// Kernel tables for tests: bytes written at the documented offsets.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "base/network.h"

namespace procmap {

template <class Number>
void put(std::string& bytes, std::size_t offset, Number value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

inline void put_port(std::string& bytes, std::size_t offset, std::uint16_t port) {
  bytes[offset] = static_cast<char>(port >> 8);
  bytes[offset + 1] = static_cast<char>(port & 0xff);
}

/// 16 bytes; IPv4 in the last four.
inline void put_address(std::string& bytes, std::size_t offset, const base::Address& address) {
  if (address.is_v4()) {
    const auto raw = address.to_v4().to_bytes();
    std::memcpy(bytes.data() + offset + 12, raw.data(), raw.size());
  } else {
    const auto raw = address.to_v6().to_bytes();
    std::memcpy(bytes.data() + offset, raw.data(), raw.size());
  }
}

inline base::Endpoint at(const char* text) {
  return base::parse_endpoint(text).value();
}

}  // namespace procmap
