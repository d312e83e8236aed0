// Dumps of chains and of routing rules; the first byte chooses.
#include "pfctl/foreign_rules.h"
#include "tests/fuzz/kernel_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const KernelBytes bytes{data + 1, size - 1};
  if (data[0] % 2 == 0) {
    std::vector<pfctl::OutputChain> chains;
    (void)pfctl::read_chain_dump(bytes.view(), chains);
    for (const auto& chain : chains) {
      // "FAMILY TABLE", both texts out of the input.
      if (chain.table.find(' ') == std::string::npos || chain.table.size() > size + 5 ||
          chain.name.size() > size)
        __builtin_trap();
    }
  } else {
    std::vector<pfctl::MarkRule> rules;
    (void)pfctl::read_rule_dump(bytes.view(), rules);
    if (rules.size() * 16 > size) __builtin_trap();  // each takes a header at least
  }
  return 0;
}
