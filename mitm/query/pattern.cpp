// RE2 with the options that filters have, and its errors in words.
#include "mitm/query/pattern.h"

#include <algorithm>

#include <re2/re2.h>

#include "base/ascii.h"
#include "base/text.h"

namespace mitm::query {
namespace {

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text,
                             [](char c) { return (static_cast<unsigned char>(c) & 0x80U) == 0; });
}

RE2::Options options_for(std::string_view text, Scan scan, bool case_sensitive) {
  RE2::Options options;
  options.set_case_sensitive(case_sensitive);
  options.set_log_errors(false);
  options.set_never_capture(true);
  const bool bytes = scan == Scan::bytes && is_ascii(text);
  if (bytes || !base::is_utf8(text)) options.set_encoding(RE2::Options::EncodingLatin1);
  options.set_dot_nl(scan == Scan::bytes);
  return options;
}

std::shared_ptr<const RE2> compile(std::string_view text, Scan scan, bool case_sensitive) {
  return std::make_shared<const RE2>(re2::StringPiece(text.data(), text.size()),
                                     options_for(text, scan, case_sensitive));
}

std::string escaped(std::string_view text) {
  return RE2::QuoteMeta(re2::StringPiece(text.data(), text.size()));
}

/// What `expression` looks for, in lower case, if it is nothing but ASCII text; else empty.
std::string literal_of(std::string_view expression) {
  std::string text;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    char c = expression[i];
    if (c == '\\') {
      if (++i == expression.size()) return {};
      c = expression[i];
      if (base::is_letter(c) || base::is_digit(c)) return {};
    } else if (std::string_view("^$.*+?()[]{}|").find(c) != std::string_view::npos) {
      return {};
    }
    if ((static_cast<unsigned char>(c) & 0x80U) != 0) return {};
    text += base::lower(c);
  }
  return text;
}

void explain_error(const RE2& regex, Problem& problem) {
  const std::string& part = regex.error_arg();
  problem.expected = "a regular expression of RE2";
  if (part.starts_with("(?=") || part.starts_with("(?!") || part.starts_with("(?<")) {
    problem.found = "the look-around '" + part + "'";
    problem.expected += ", which has no look-around";
    problem.hint = part.starts_with("(?!") || part.starts_with("(?<!")
                       ? "exclude with a filter of its own: & !~u ..."
                       : "write what is looked for as a filter of its own, joined by &, or "
                         "excluded by !";
    return;
  }
  if (regex.error_code() == RE2::ErrorBadEscape && part.size() == 2 && base::is_digit(part[1])) {
    problem.found = "the back-reference '" + part + "'";
    problem.expected += ", which has no back-references";
    return;
  }
  problem.found = "'" + part + "'";
  problem.hint = regex.error();
}

}  // namespace

bool compile_expression(std::string_view expression, Scan scan, Predicate& predicate,
                        Problem& problem) {
  // Compiled as it is first: errors are about what was typed.
  auto regex = compile(expression, scan, predicate.case_sensitive);
  if (regex->ok() && scan == Scan::lines)
    regex = compile("(?m)" + std::string(expression), scan, predicate.case_sensitive);
  if (!regex->ok()) {
    explain_error(*regex, problem);
    return false;
  }
  if (!predicate.case_sensitive) predicate.literal = literal_of(expression);
  predicate.regex = std::move(regex);
  return true;
}

void compile_text(std::string_view text, Scan scan, Predicate& predicate) {
  std::string expression = escaped(text);
  if (predicate.comparison == Comparison::starts_with) expression.insert(0, "\\A");
  if (predicate.comparison == Comparison::ends_with) expression += "\\z";
  const bool plain =
      predicate.comparison == Comparison::contains && !predicate.case_sensitive && is_ascii(text);
  if (plain) predicate.literal = base::lowercase(text);
  predicate.regex = compile(expression, scan, predicate.case_sensitive);
}

void compile_equality(Operand& operand, bool case_sensitive) {
  if (case_sensitive || is_ascii(operand.text) || !base::is_utf8(operand.text)) return;
  operand.equal = compile("\\A" + escaped(operand.text) + "\\z", Scan::text, false);
}

}  // namespace mitm::query
