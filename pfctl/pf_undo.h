// Undoing one step of the journal.
#pragma once

#include <string>

#include "base/error.h"
#include "pfctl/pf_journal.h"
#include "pfctl/pf_machine.h"

namespace pfctl {

/// What was put right, as a line for the user. What is not there any more is not put right, and no
/// error; what others have changed since stays theirs. Errors: the program's.
[[nodiscard]] base::Result<std::string> undo_step(const Machine& machine, const Undo& undo);

/// Flushes the anchor that process `owner`, which is dying, has noted in the journal at `path`: new
/// connections go their own way, and the rest can be undone in peace. Without the journal's lock,
/// which `owner` may still have; nothing when the journal is of another process. Errors: no journal
/// that can be read; pfctl's.
[[nodiscard]] base::Result<> flush_rules_of(const Machine& machine, const std::string& path,
                                            long owner);

}  // namespace pfctl
