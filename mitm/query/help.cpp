// The language on one page.
#include <fmt/format.h>

#include "mitm/query/filter.h"

namespace mitm::query {
namespace {

constexpr std::size_t kColumns = 100;

constexpr std::string_view kIntroduction =
    R"help(A filter is made of comparisons, of mitmproxy's operators, or of both:
  ~p curl & ~c 5xx
  process.name == "curl" and status in {500, 502} and duration > 300ms
  ~d example\.org and not (req.header["accept"] contains json or ~a)

Joined by        ! or not, & or and, | or or, in this order; parentheses. Filters side by side are
                 joined by "and", after |: "a | b c" is "(a | b) & c".
Word             a regular expression for the URL.
Text             == != contains startswith endswith matches (~=) in {a, b}
Number           == != < <= > >= in {80, 8000-8100}; status 4xx; size 10k, 1.5M; duration 300ms, 2s,
                 5m; time 2026-11-30, 2026-11-30T09:15 (local), ...Z (UTC), 10m (ago). A day, or
                 a minute, is all of it: time > 2026-11-30 begins on the day after, time == and
                 >= 2026-11-30 on that day
Address          == != in, with an address or a network (10.0.0.0/8)
True or false    the field by itself: tls, !tls
Quotes           "..." or '...'; only \" \' and \\ are escapes, all other backslashes stay
Regular          RE2's, found anywhere, case does not count but for (?-i). Parentheses that touch a
expression       word belong to it: ~u get(Info|List). A | or & between filters has spaces around.

Of several values (header fields, ancestors) one must satisfy the comparison; for != there must be
one, and none that is equal. What is absent makes every comparison false, != too: "not (a == b)" is
more than "a != b". Cost: "row" is answered from the index, "heads" reads the recorded flow,
"bodies" decodes and searches its bodies and messages.

)help";

std::string name_of(const Field& field) {
  std::string name(field.name);
  if (field.keyed == Keyed::required) name += "[\"...\"]";
  if (field.keyed == Keyed::optional) name += "[...]";
  return name;
}

std::string_view kind_of(ValueType type) {
  constexpr std::string_view kKinds[] = {"",         "text", "number",  "number", "size",
                                         "duration", "time", "address", "any"};
  return kKinds[static_cast<std::size_t>(type)];
}

/// `text` broken at blanks, behind `indent` columns.
void append_wrapped(std::string_view text, std::size_t indent, std::string& out) {
  const std::size_t width = kColumns - indent;
  while (text.size() > width) {
    std::size_t at = text.rfind(' ', width);
    if (at == text.npos || at == 0) at = width;
    out.append(text.substr(0, at)).append("\n").append(indent, ' ');
    text.remove_prefix(std::min(text.find_first_not_of(' ', at), text.size()));
  }
  out.append(text).append("\n");
}

void append_field(const Field& field, std::string& out) {
  const std::string letter = field.letter.empty() ? "" : "~" + std::string(field.letter);
  const std::string line =
      fmt::format("{:<22} {:<11} {:<9} {:<7} ", field.never.empty() ? name_of(field) : "-", letter,
                  kind_of(field.type), field.never.empty() ? to_string(field.cost) : "-");
  out += line;
  std::string text(field.help);
  if (field.type == ValueType::flag) text.insert(0, "the flow ");
  if (!field.never.empty()) text = "never matches: " + std::string(field.never);
  if (!field.aliases.empty()) text += fmt::format(" (also: {})", field.aliases);
  append_wrapped(text, line.size(), out);
}

}  // namespace

std::string help() {
  std::string out(kIntroduction);
  out += fmt::format("{:<22} {:<11} {:<9} {:<7} {}\n", "Field", "Operator", "Value", "Cost", "Is");
  for (const Field* const field : all_fields()) append_field(*field, out);
  return out;
}

}  // namespace mitm::query
