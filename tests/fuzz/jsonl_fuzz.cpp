// JSON lines, as --format jsonl writes them.
#include "mitm/format/jsonl_reader.h"
#include "mitm/format/mitm_file.h"
#include "tests/fuzz/flow_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  fuzz::check(
      mitm::format::make_jsonl_reader, bytes,
      [] { return mitm::format::make_mitm_writer(mitm::format::MitmVersion::v21); },
      mitm::format::make_mitm_reader);
  return 0;
}
