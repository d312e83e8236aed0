// The blobs of a session's rows: what the columns do not have of a record. The first byte says of
// which kind of record.
#include <cstdint>
#include <string>
#include <string_view>

#include "mitm/store/record_codec.h"

namespace {

/// What was read whole is written, and read again as the same.
template <class Record>
void check(std::string_view blob, const Record& columns) {
  Record first = columns;
  if (!mitm::store::decode(blob, first)) return;
  std::string written;
  mitm::store::encode(first, written);
  Record second = columns;
  if (!mitm::store::decode(written, second)) __builtin_trap();
  std::string again;
  mitm::store::encode(second, again);
  if (again != written) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace flow = mitm::flow;
  if (size == 0) return 0;
  const std::string_view blob{reinterpret_cast<const char*>(data) + 1, size - 1};
  procmap::ProcessFacts process;
  process.ancestors.resize(3);  // their number is that of rows
  switch (data[0]) {
    case 'h':
      check(blob, flow::HttpFlow{});
      break;
    case 't':
      check(blob, flow::TcpFlow{});
      break;
    case 'd':
      check(blob, flow::DnsFlow{});
      break;
    case 'm':
      check(blob, flow::StreamMessage{});
      break;
    case 'p':
      check(blob, process);
      break;
    default:
      break;
  }
  return 0;
}
