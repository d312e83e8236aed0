// HARs of any program.
#include "mitm/format/har.h"
#include "mitm/format/mitm_file.h"
#include "tests/fuzz/flow_file.h"

namespace {

using mitm::format::make_har_reader;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  fuzz::check(
      make_har_reader, bytes,
      [] { return mitm::format::make_har_writer({.with_secrets = true, .version = "1"}); },
      make_har_reader);
  fuzz::check(
      make_har_reader, bytes,
      [] { return mitm::format::make_mitm_writer(mitm::format::MitmVersion::v17); },
      mitm::format::make_mitm_reader);
  return 0;
}
