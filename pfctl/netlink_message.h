// One nfnetlink message under construction, in memory of its own.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <libmnl/libmnl.h>

namespace pfctl {

/// Every message that is made with it must be smaller than its room: nothing checks. Lists that
/// grow with the ruleset are cut (nft_messages.cpp).
class NetlinkMessage {
 public:
  static constexpr std::size_t kRoom = 8 << 10;

  /// `type`: subsystem and message. `family` and `resource`: of the nfgenmsg behind the header.
  NetlinkMessage(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence,
                 std::uint8_t family, std::uint16_t resource);
  NetlinkMessage(const NetlinkMessage&) = delete;
  NetlinkMessage& operator=(const NetlinkMessage&) = delete;

  void text(std::uint16_t type, const char* value);
  void number(std::uint16_t type, std::uint32_t value);      ///< 32 bits, big-endian
  void big_number(std::uint16_t type, std::uint64_t value);  ///< 64 bits, big-endian
  void bytes(std::uint16_t type, std::span<const unsigned char> value);

  /// An attribute that holds those that `body` puts.
  template <class Body>
  void nest(std::uint16_t type, Body body) {
    nlattr* start = mnl_attr_nest_start(header_, type);
    body();
    mnl_attr_nest_end(header_, start);
  }

  [[nodiscard]] std::string_view view() const;

 private:
  alignas(nlmsghdr) std::array<char, kRoom> room_{};  // zeroed: libmnl leaves the padding as it is
  nlmsghdr* header_;
};

/// The bytes of a number, in the host's order.
template <class Number>
std::array<unsigned char, sizeof(Number)> raw(Number value) {
  return std::bit_cast<std::array<unsigned char, sizeof(Number)>>(value);
}

}  // namespace pfctl
