// Packets that go back into a kernel changed, or are made as an answer: for packet sources whose
// kernel gives the packet out of its hands (divert(4)). Bytes in, bytes out.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace divert {

/// Writes the type-of-service byte of an IPv4 packet and mends the header's checksum (RFC 1624).
/// TCP's own checksum does not cover that byte. False, and nothing changed, when `packet` is no
/// whole IPv4 header.
bool set_tos(std::span<char> packet, std::uint8_t tos);

/// What a host that refuses answers to the SYN `packet` (RFC 9293 section 3.10.7.1): RST and ACK,
/// from its destination to its source, whole with checksums. Empty when `packet` is no IPv4 SYN.
std::string reset_for(std::string_view packet);

/// The ICMP error "destination unreachable" (RFC 792) with `code` that answers the IPv4 `packet`,
/// from its destination; it holds the packet's IP header and the 8 bytes behind. Empty when there
/// is no such packet.
std::string unreachable_for(std::string_view packet, std::uint8_t code);

}  // namespace divert
