// A pf.conf checker of our own, for machines without pf: the grammar of pfctl's parse.y as far as
// our anchors and main rulesets of ordinary kinds go, and beyond it the mistakes that pfctl accepts
// and that then divert nothing, or everything for ever.
#pragma once

#include <string_view>

#include "base/error.h"
#include "pfctl/pf.h"

namespace pf_grammar {

/// Errors: "line N: ...".
base::Result<> check(std::string_view text, pfctl::Dialect dialect);

}  // namespace pf_grammar
