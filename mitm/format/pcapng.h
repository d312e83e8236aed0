// Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as bytes. Pure: no file, no clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace mitm::format::pcapng {

/// Of one packet, its headers included.
inline constexpr std::uint32_t kSnapLength = 65535;

/// The beginning of a file in this machine's byte order, of a length that is not known yet. Appends
/// to `out`, as the others do.
void append_section(std::string& out);

/// Raw IP packets, times in microseconds. Interfaces have numbers, from 0 on, in the order of their
/// blocks. Both texts have to be UTF-8; empty: none.
void append_interface(std::string_view name, std::string_view description, std::string& out);

/// At most kSnapLength bytes. `comment`: UTF-8; empty: none.
void append_packet(std::uint32_t interface, std::chrono::system_clock::time_point time,
                   std::string_view packet, std::string_view comment, std::string& out);

}  // namespace mitm::format::pcapng
