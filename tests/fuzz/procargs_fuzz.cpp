// Arguments of a process on macOS.
#include <cstdint>
#include <string_view>

#include "procmap/procargs.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  const auto arguments = procmap::parse_procargs(bytes);
  if (!arguments) return 0;
  // Every string is in the input, in its order.
  auto at = bytes.find(arguments->exec_path, 4);
  if (at == std::string_view::npos) __builtin_trap();
  at += arguments->exec_path.size();
  for (const auto& argument : arguments->argv) {
    if (argument.find('\0') != std::string::npos) __builtin_trap();
    at = bytes.find(argument, at);
    if (at == std::string_view::npos) __builtin_trap();
    at += argument.size();
  }
  return 0;
}
