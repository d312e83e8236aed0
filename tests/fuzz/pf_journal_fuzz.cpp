// The journal of changes to pf, from which root's tools are called.
#include <cstdint>
#include <string_view>

#include "pfctl/pf_journal.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto journal = pfctl::parse_journal({reinterpret_cast<const char*>(data), size});
  if (!journal) return 0;
  const auto again = pfctl::parse_journal(pfctl::render_journal(*journal));
  if (!again || *again != *journal) __builtin_trap();
  for (const auto& undo : journal->undo) {
    // No value but a ruleset's text may look like an option of the programs that get it.
    if (undo.kind != pfctl::Undo::Kind::restore_main && undo.value.starts_with('-'))
      __builtin_trap();
  }
  return 0;
}
