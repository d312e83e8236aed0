// Answers of three pfs to DIOCNATLOOK.
#include <cstdint>
#include <span>

#include "pfctl/natlook_layout.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const unsigned char> bytes{data, size};
  for (const char* from : {"10.0.0.7:50000", "[fdff:6f73::2]:50000"}) {
    const auto peer = base::parse_endpoint(from).value();
    for (const auto* layout :
         {&pfctl::kNatlookDarwin, &pfctl::kNatlookFreebsd, &pfctl::kNatlookOpenbsd}) {
      const auto found = pfctl::decode_natlook(*layout, bytes, peer);
      if (!found) continue;
      if (size < layout->size) __builtin_trap();
      for (const auto& end : {found->source, found->destination}) {
        if (end.address().is_v4() != peer.address().is_v4() || end.port() == 0) __builtin_trap();
      }
      // What has no whole source keeps the peer's.
      if (found->source.address().is_unspecified()) __builtin_trap();
    }
  }
  return 0;
}
