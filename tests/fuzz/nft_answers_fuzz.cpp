// What nf_tables answers: acknowledgements, and the table that is there.
#include "pfctl/nft_answers.h"
#include "tests/fuzz/kernel_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const KernelBytes bytes{data, size};
  if (const auto acks = pfctl::parse_acks(bytes.view())) {
    const pfctl::Batch batch;
    if (acks->size() * 16 > size) __builtin_trap();  // each takes a header at least
    for (const auto& ack : *acks) {
      if (pfctl::is_in_the_way(batch, ack) || pfctl::explain(batch, ack, "6.1").text.empty())
        __builtin_trap();
    }
  }
  // The sequence number that is expected is the one in the header, or nothing but "another
  // question" would be reached.
  std::uint32_t sequence = 0;
  if (size >= 16) std::memcpy(&sequence, data + 8, sizeof sequence);
  const auto table = pfctl::parse_table_answer(bytes.view(), sequence);
  if (table && table->owner && !table->exists) __builtin_trap();
  return 0;
}
