// Whatever a program can put into a first packet.
#include <cstdint>
#include <string_view>

#include "divert/packet/packet.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  if (const auto head = divert::parse_packet(bytes)) {
    // The payload lies within the packet.
    if (!head->payload.empty() &&
        (head->payload.data() < bytes.data() ||
         head->payload.data() + head->payload.size() > bytes.data() + bytes.size()))
      __builtin_trap();
  }
  return 0;
}
