// Regular expressions of filters.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "mitm/query/field.h"
#include "mitm/query/problem.h"

namespace mitm::query {

/// Makes `predicate` look for `expression`. False: `problem` has what is wrong (not where).
[[nodiscard]] bool compile_expression(std::string_view expression, Scan scan, Predicate& predicate,
                                      Problem& problem);

/// Makes `predicate`, whose comparison is contains, starts_with or ends_with, look for `text`.
void compile_text(std::string_view text, Scan scan, Predicate& predicate);

/// Makes `operand` equal to texts in another case, where ASCII's rules are not enough.
void compile_equality(Operand& operand, bool case_sensitive);

}  // namespace mitm::query
