// What depends on the engine or on the machine.
#include "mitm/cli/settings.h"

#include <algorithm>
#include <thread>

namespace mitm::cli {

std::string_view to_string(PacketFilter filter) {
  switch (filter) {
    case PacketFilter::nft:
      return "nft";
    case PacketFilter::darwin:
      return "darwin";
    case PacketFilter::freebsd:
      return "freebsd";
    case PacketFilter::openbsd:
      break;
  }
  return "openbsd";
}

std::vector<base::PortRange> Settings::redirect_ports() const {
  if (ports) return *ports;
  return {{80, 80}, {443, 443}, {8000, 8000}, {8080, 8080}, {8443, 8443}};
}

std::vector<base::PortRange> Settings::packet_ports() const {
  return ports.value_or(std::vector<base::PortRange>{});
}

unsigned Settings::worker_threads() const {
  return threads.value_or(std::clamp(std::thread::hardware_concurrency(), 1U, 64U));
}

}  // namespace mitm::cli
