// Comparisons of one value.
#include "mitm/query/predicate.h"

#include <algorithm>

#include <re2/re2.h>

#include "base/ascii.h"

namespace mitm::query {
namespace {

/// Longer texts are left to RE2, which needs longer to begin and less for each byte.
constexpr std::size_t kShort = 256;

bool found(const RE2& regex, std::string_view text) {
  return regex.Match(re2::StringPiece(text.data(), text.size()), 0, text.size(), RE2::UNANCHORED,
                     nullptr, 0);
}

/// `needle` is in lower case and not empty.
bool contains_ignoring_case(std::string_view text, std::string_view needle) {
  if (text.size() < needle.size()) return false;
  const char* const last = text.data() + (text.size() - needle.size());
  for (const char* at = text.data(); at <= last; ++at) {
    std::size_t same = 0;
    while (same < needle.size() && base::lower(at[same]) == needle[same]) ++same;
    if (same == needle.size()) return true;
  }
  return false;
}

bool equals(const Operand& operand, std::string_view value, bool case_sensitive) {
  if (case_sensitive) return operand.text == value;
  return operand.equal ? found(*operand.equal, value) : base::iequals(operand.text, value);
}

bool contains(const Range& range, double value) {
  return range.first <= value && value <= range.last;
}

}  // namespace

bool Predicate::test(std::string_view value) const {
  if (regex) {
    if (!literal.empty() && value.size() <= kShort) return contains_ignoring_case(value, literal);
    return found(*regex, value);
  }
  switch (comparison) {
    case Comparison::equal:
    case Comparison::not_equal:
    case Comparison::in:
      return std::ranges::any_of(
          operands, [&](const Operand& operand) { return equals(operand, value, case_sensitive); });
    default:
      return false;
  }
}

bool Predicate::test(double value) const {
  // Of an order the parser has seen to it that there is a number.
  const Range first = operands.empty() ? Range{} : operands.front().range.value_or(Range{});
  switch (comparison) {
    case Comparison::less:
      return value < first.first;
    case Comparison::less_equal:
      return value <= first.last;
    case Comparison::greater:
      return value > first.last;
    case Comparison::greater_equal:
      return value >= first.first;
    default:
      return std::ranges::any_of(operands, [&](const Operand& operand) {
        return operand.range && contains(*operand.range, value);
      });
  }
}

bool Predicate::test(const base::Address& value) const {
  return std::ranges::any_of(operands, [&](const Operand& operand) {
    return operand.network && operand.network->contains(value);
  });
}

}  // namespace mitm::query
