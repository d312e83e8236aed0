// A user's main ruleset (pf.conf): our references go in and come out again, and not a byte else
// changes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pfctl/pf.h"

namespace pfctl {

struct EditedConf {
  std::string text;
  std::vector<std::string> notes;  ///< other obstacles, a line each, for a person
};

/// The file that the `load anchor` line names: `osproxy rules` goes there.
const char* anchor_file_of(Dialect dialect);

/// `conf` with what it lacks of: rdr-anchor before all other translation rules, anchor before all
/// other filter rules (OpenBSD: only this; where there are none, before the includes that end it),
/// and load anchor as the last line. Our lines end with a comment by which remove_anchor() knows
/// them; others that refer to our anchor without a condition, the wildcards of macOS's stock file
/// for one, are as good as ours. The same again for its own result. Errors name the line: what
/// parse_pf_statements() refuses, unknown statements, an anchor of our name with rules of its own.
[[nodiscard]] base::Result<EditedConf> insert_anchor(std::string_view conf, Dialect dialect);

/// `conf` without the lines that insert_anchor() put there, whichever dialect they were for.
[[nodiscard]] base::Result<std::string> remove_anchor(std::string_view conf);

}  // namespace pfctl
