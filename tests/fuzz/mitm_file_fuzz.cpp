// Flow files of mitmproxy, of any version.
#include "mitm/format/mitm_file.h"
#include "tests/fuzz/flow_file.h"

namespace {

using mitm::format::make_mitm_reader;
using mitm::format::MitmVersion;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  fuzz::check(
      make_mitm_reader, bytes, [] { return mitm::format::make_mitm_writer(MitmVersion::v21); },
      make_mitm_reader);
  return 0;
}
