// What tests of attribution ask an Attributor, and themselves.
#pragma once

#include <array>
#include <chrono>
#include <string>

#include <unistd.h>

#include "procmap/attribution.h"

namespace procmap {

inline std::string own_exe() {
  std::array<char, 4096> path;
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size());
  return {path.data(), static_cast<std::size_t>(n)};
}

/// The pid that `attributor` names, given all the time that a busy machine may need; 0: unknown.
inline pid_t owner_pid(Attributor& attributor, const base::Endpoint& source,
                       const base::Endpoint& destination) {
  const auto owner = attributor.owner_of({source, destination}, std::chrono::seconds{30});
  return owner.process ? owner.process->id.pid : 0;
}

inline base::Endpoint loopback(std::uint64_t port) {
  return {boost::asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)};
}

}  // namespace procmap
