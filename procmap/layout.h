// Numbers and addresses in the tables of a kernel, by offset. The caller has made sure that they
// are inside.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/network.h"

namespace procmap {

/// In host byte order: the kernel runs on the same machine.
template <class Number>
Number number_at(std::string_view bytes, std::size_t offset) {
  Number value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// Two bytes in network order.
inline std::uint16_t port_at(std::string_view bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[offset]) << 8 |
                                    static_cast<unsigned char>(bytes[offset + 1]));
}

/// The 16 bytes in which BSD kernels keep an address of either family: IPv4 in the last four.
inline base::Address address_at(std::string_view bytes, std::size_t offset, bool v6) {
  if (!v6) {
    boost::asio::ip::address_v4::bytes_type raw;
    std::memcpy(raw.data(), bytes.data() + offset + 12, raw.size());
    return boost::asio::ip::address_v4{raw};
  }
  boost::asio::ip::address_v6::bytes_type raw;
  std::memcpy(raw.data(), bytes.data() + offset, raw.size());
  return boost::asio::ip::address_v6{raw};
}

}  // namespace procmap
