// Netlink messages put together by hand for tests, independent of the code under test.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace pfctl_test {

template <class Number>
std::string host_order(Number value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

inline std::string big_endian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

inline std::string padded(std::string bytes) {
  bytes.resize((bytes.size() + 3) / 4 * 4, '\0');
  return bytes;
}

inline std::string attribute(std::uint16_t type, const std::string& payload) {
  const auto length = static_cast<std::uint16_t>(4 + payload.size());
  return padded(host_order(length) + host_order(type) + payload);
}

inline std::string nested(std::uint16_t type, const std::string& payload) {
  return attribute(static_cast<std::uint16_t>(0x8000 | type), payload);
}

inline std::string message(std::uint16_t type, std::uint32_t sequence, const std::string& payload) {
  const auto length = static_cast<std::uint32_t>(16 + payload.size());
  return host_order(length) + host_order(type) + host_order<std::uint16_t>(0) +
         host_order(sequence) + host_order<std::uint32_t>(0) + payload;
}

/// An error message (NLMSG_ERROR) as with NETLINK_CAP_ACK; `error` is an errno, 0 an
/// acknowledgement.
inline std::string error_message(std::uint32_t sequence, std::int32_t error) {
  return message(2, sequence, host_order(-error) + std::string(16, '\0'));
}

/// A copy in memory of exactly its size, so that the address sanitizer sees a read behind its end.
class ExactCopy {
 public:
  explicit ExactCopy(std::string_view bytes)
      : bytes_(std::make_unique<char[]>(bytes.size())), size_(bytes.size()) {
    std::memcpy(bytes_.get(), bytes.data(), bytes.size());
  }
  [[nodiscard]] std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_;
};

}  // namespace pfctl_test
