// pflog(4) copies what rules log, of every program, for every listener: copies for us
// alone are not to be had. Without them names are known from SNI and Host only.
#include "divert/packet/packet_log.h"

namespace divert {
namespace {

base::Error unavailable() {
  return base::failure("pf gives no copies of single programs' packets");
}

}  // namespace

PacketLog::PacketLog(base::UniqueFd socket, std::uint16_t group)
    : socket_(std::move(socket)), group_(group) {}

base::Result<PacketLog> PacketLog::open(std::uint16_t /*group*/) {
  return unavailable();
}

base::Result<bool> PacketLog::receive(const Take& /*take*/) {
  return unavailable();
}

std::vector<std::uint16_t> usual_log_groups() {
  return {};
}

base::Result<std::vector<PacketLog>> open_packet_logs() {
  return unavailable();
}

}  // namespace divert
