// Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as bytes. Pure: no file, no clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/network.h"
#include "procmap/process.h"

namespace mitm::format::pcapng {

/// Of one packet, its headers included.
inline constexpr std::uint32_t kSnapLength = 65535;

/// The beginning of a file in this machine's byte order, of a length that is not known yet. Appends
/// to `out`, as the others do.
void append_section(std::string& out);

/// Raw IP packets, times in nanoseconds. Interfaces have numbers, from 0 on, in the order of their
/// blocks. Both texts have to be UTF-8; empty: none.
void append_interface(std::string_view name, std::string_view description, std::string& out);

/// Wireshark's block for the facts of a process, to which the pid of a packet refers. Other readers
/// skip it; a Wireshark that does not know it (4.0) has a line "Custom Block" in its list.
void append_process(const procmap::ProcessFacts& process, std::string& out);

struct Packet {
  std::uint32_t interface = 0;
  std::chrono::system_clock::time_point time;
  std::string_view bytes;      ///< at most kSnapLength of them
  std::size_t missing = 0;     ///< bytes of the packet behind these, which were not recorded
  std::uint32_t pid = 0;       ///< 0: unknown
  std::string_view comment{};  ///< UTF-8; empty: none
};
void append_packet(const Packet& packet, std::string& out);

/// Names these addresses (Name Resolution Block). `name` has to be UTF-8.
void append_names(const std::vector<base::Address>& addresses, std::string_view name,
                  std::string& out);

}  // namespace mitm::format::pcapng
