// Values as users write them: numbers with units, dates, networks.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "mitm/flow/records.h"
#include "mitm/query/predicate.h"

namespace mitm::query {

/// What a value of `type` looks like: "a status such as 404, 4xx, 500-599 or >=400".
[[nodiscard]] std::string_view expected_value(ValueType type, Relative relative);

/// The operand that `text` is. `now`: what times such as "10m" count from, back or forth as
/// `relative` says; "-10m" is ago and "+10m" from now in any case. Empty: not a value of this type;
/// expected_value() says what is.
[[nodiscard]] std::optional<Operand> parse_operand(ValueType type, std::string_view text,
                                                   flow::Time now, Relative relative);

/// A form of a number, or a range of them, that parse_operand() reads as the same.
[[nodiscard]] std::string render_range(ValueType type, const Range& range);

/// The same for people: "500 to 599", "10 KiB", "300 ms".
[[nodiscard]] std::string describe_range(ValueType type, const Range& range);

/// In quotes, with as many escapes as it needs: the parser reads `text` again.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace mitm::query
