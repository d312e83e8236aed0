// Whatever a client sends: no crash, and with more bytes no change of mind.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "mitm/sniff/sniffer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto whole = mitm::sniff::inspect(bytes);
  using mitm::sniff::Protocol;
  if (whole.protocol == Protocol::undecided && whole.complete) std::abort();
  if (whole.protocol == Protocol::tls && whole.host != whole.hello.sni) std::abort();
  const auto part = mitm::sniff::inspect(bytes.substr(0, size / 2));
  const bool may_change =
      part.protocol == Protocol::undecided ||
      (part.protocol == Protocol::tls && !part.complete && whole.protocol == Protocol::raw);
  if (!may_change && part.protocol != whole.protocol) std::abort();
  if (part.complete && (!whole.complete || part.host != whole.host)) std::abort();
  return 0;
}
