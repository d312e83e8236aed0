// NFLOG's copies of packets.
#include "divert/packet/packet_log.h"
#include "tests/fuzz/kernel_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const KernelBytes bytes{data, size};
  divert::decode_packet_log(bytes.view(), [&](std::string_view packet) {
    if (!bytes.holds(packet)) __builtin_trap();
  });
  return 0;
}
