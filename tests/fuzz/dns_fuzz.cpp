// Whatever a name server, or somebody in its place, can send.
#include <cstdint>
#include <string_view>

#include "mitm/dns/message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto message = mitm::dns::parse({reinterpret_cast<const char*>(data), size});
  if (message && message->answers.size() > mitm::dns::kMaxRecords) __builtin_trap();
  return 0;
}
