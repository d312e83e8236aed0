// Filters of flows as users type them.
#pragma once

#include <string_view>

#include "base/error.h"
#include "mitm/query/filter.h"

namespace mitm::cli {

/// "found ..., expected ..." with the place in `text` marked below it: kUsageErrorOfLines.
[[nodiscard]] base::Error marked_problem(std::string_view text, const query::Problem& problem);

/// Reads what was given as `name` ("FILTER", "--view"), with which errors begin; says its warnings.
[[nodiscard]] base::Result<query::Filter> parse_filter_text(std::string_view text,
                                                            std::string_view name);

}  // namespace mitm::cli
