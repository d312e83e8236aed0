// The kernel's messages about held packets.
#include <cstdint>
#include <string_view>

#include "divert/packet/nfqueue.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes{reinterpret_cast<const char*>(data), size};
  std::size_t left = bytes.size() + 1;
  while (const auto message = divert::nfqueue::decode(bytes)) {
    if (bytes.size() >= left) __builtin_trap();  // no progress
    left = bytes.size();
  }
  return 0;
}
