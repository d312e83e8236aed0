// What the broker sends, as the worker reads it.
#include <cstdint>
#include <string_view>

#include "divert/link/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace wire = divert::wire;
  wire::KnownProcesses known{4};
  const auto message = wire::decode({reinterpret_cast<const char*>(data), size}, known);
  // What was read is written as it was, or shorter.
  const auto again = [&](const auto& each) {
    return wire::decode(wire::encode(each), known).has_value();
  };
  if (message && !std::visit(again, *message)) __builtin_trap();
  return 0;
}
