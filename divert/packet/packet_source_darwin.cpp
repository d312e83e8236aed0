// macOS has no divert sockets and no other way to hold a packet until it has been judged.
#include "divert/packet/packet_source.h"

namespace divert {
namespace {

base::Error unavailable() {
  return base::failure("macOS cannot hold packets: it has no divert sockets");
}

}  // namespace

struct PacketSource::Store {};

PacketSource::PacketSource(base::UniqueFd socket, std::uint16_t number)
    : socket_(std::move(socket)), number_(number) {}

base::Result<PacketSource> PacketSource::open(std::uint16_t /*number*/) {
  return unavailable();
}

base::Result<> PacketSource::receive(std::chrono::milliseconds /*patience*/, const Take& /*take*/) {
  return unavailable();
}

// No packet is ever held, so none can be let go.
void PacketSource::release(const HeldPacket& /*packet*/, Release /*how*/,
                           std::uint32_t /*mark_bit*/) const {}
void PacketSource::refuse(const HeldPacket& /*packet*/, pfctl::Refusal /*how*/) const {}

unsigned queue_count() {
  return 1;
}

pfctl::Queueing usual_queueing() {
  return {};
}

base::Result<PacketSources> open_packet_sources(unsigned /*count*/) {
  return unavailable();
}

KernelDrops kernel_drops(std::uint16_t /*first*/, std::size_t /*count*/) {
  return {};
}

}  // namespace divert
