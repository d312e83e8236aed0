// Numbers in HTTP/2 frames (RFC 9113 section 4.1), in network byte order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mitm::http {

/// Bytes of a frame in front of its payload; the last four of them name the stream.
inline constexpr std::size_t kFrameHeader = 9;
/// Of four bytes those bits that are the number of a stream, or an increment.
inline constexpr std::uint32_t kStreamBits = 0x7fffffff;

/// `size` bytes from `at` on, which must be there.
[[nodiscard]] inline std::uint32_t number_at(std::string_view bytes, std::size_t at, int size = 4) {
  std::uint32_t value = 0;
  for (int i = 0; i < size; ++i)
    value = value << 8 | static_cast<unsigned char>(bytes[at + static_cast<std::size_t>(i)]);
  return value;
}

/// In place of the four bytes from `at` on.
inline void put_number(std::string& into, std::size_t at, std::uint32_t value) {
  for (int i = 0; i < 4; ++i)
    into[at + static_cast<std::size_t>(i)] = static_cast<char>(value >> (24 - 8 * i));
}

}  // namespace mitm::http
