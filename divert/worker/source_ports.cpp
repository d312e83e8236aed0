// The ports are taken in turn, so that one whose connection has ended rests (TIME_WAIT) as long as
// it can. Of those that are taken the kernel says so, servers' included.
#include "divert/worker/source_ports.h"

#include <cerrno>

#include <sys/socket.h>

namespace divert {
namespace {

/// One process has one set of rules: set before there are threads, never again.
std::optional<SourcePorts>& of_this_process() {
  static std::optional<SourcePorts> ports;
  return ports;
}

}  // namespace

int SourcePorts::bind(int socket, const base::Endpoint& destination) {
  const unsigned count = range_.last - range_.first + 1U;
  for (unsigned tried = 0; tried < count; ++tried) {
    const unsigned offset = next_.fetch_add(1, std::memory_order_relaxed) % count;
    const base::Endpoint here{destination.address(),
                              static_cast<std::uint16_t>(range_.first + offset)};
    if (::bind(socket, here.data(), static_cast<socklen_t>(here.size())) == 0) return 0;
    // Not one of this machine's.
    if (errno == EADDRNOTAVAIL) return 0;
    if (errno != EADDRINUSE) return errno;
  }
  return EADDRINUSE;
}

void use_source_ports(std::optional<base::PortRange> range) {
  if (range) of_this_process().emplace(*range);
}

int bind_source_port(int socket, const base::Endpoint& destination) {
  auto& ports = of_this_process();
  return ports ? ports->bind(socket, destination) : 0;
}

}  // namespace divert
