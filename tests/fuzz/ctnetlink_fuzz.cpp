// Any bytes at all as conntrack's answer. The buffer has exactly the input's size, so that a read
// behind its end is seen, and is aligned as a receive buffer is.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "pfctl/ctnetlink.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 16) return 0;
  const auto bytes = std::make_unique<char[]>(size);
  std::memcpy(bytes.get(), data, size);
  // The sequence number that is expected is the one in the header, or nothing but "foreign" would
  // be reached.
  std::uint32_t sequence = 0;
  std::memcpy(&sequence, data + 8, sizeof sequence);
  pfctl::decode_conntrack_answer({bytes.get(), size}, sequence);
  return 0;
}
