// Arguments of a process on Linux and FreeBSD.
#include <cstdint>
#include <string>
#include <string_view>

#include "procmap/proc_parse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  const auto arguments = procmap::parse_cmdline(bytes);
  // Joined again they are how the input begins.
  std::string joined;
  for (const auto& argument : arguments) {
    if (argument.find('\0') != std::string::npos) __builtin_trap();
    joined += argument + '\0';
  }
  if (!joined.empty()) joined.pop_back();
  if (!bytes.starts_with(joined)) __builtin_trap();
  for (const std::size_t limit : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
    const auto few = procmap::parse_cmdline(bytes, limit);
    if (few.size() > limit || few.size() > arguments.size()) __builtin_trap();
    for (std::size_t i = 0; i < few.size(); ++i) {
      if (few[i] != arguments[i]) __builtin_trap();
    }
  }
  return 0;
}
