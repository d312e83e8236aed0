// Answers as the worker reads them.
#include <cstdint>
#include <string_view>

#include "divert/link/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto answer = divert::wire::decode_answer({reinterpret_cast<const char*>(data), size});
  // What was read is written as it was, or shorter.
  if (answer && !divert::wire::decode_answer(divert::wire::encode(*answer))) __builtin_trap();
  return 0;
}
