// Values by the type of their field, and the traps that regular expressions are.
#include "mitm/query/operand_reader.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/ascii.h"
#include "mitm/query/pattern.h"
#include "mitm/query/value.h"

namespace mitm::query {
namespace {

constexpr std::string_view kRegex = "a regular expression";
constexpr std::string_view kTextComparisons =
    "==, !=, contains, startswith, endswith, matches or in";

bool is_text(ValueType type) {
  return type == ValueType::text || type == ValueType::json;
}

std::string_view expected_value(const Field& field) {
  return query::expected_value(field.type, field.relative);
}

bool is_order(Comparison comparison) {
  return comparison >= Comparison::less && comparison <= Comparison::greater_equal;
}

bool is_search(Comparison comparison) {
  return comparison >= Comparison::contains && comparison <= Comparison::matches;
}

/// Of a whole text; what is looked for in one stays as it was typed.
std::string spelled_as_in_flows(const Field& field, const Predicate& predicate,
                                const std::string& text) {
  return field.spelling == nullptr || is_search(predicate.comparison) ? text : field.spelling(text);
}

/// What the user may have meant by a value that is none.
std::string value_hint(ValueType type, std::string_view text) {
  const bool digits = !text.empty() && std::ranges::all_of(text, base::is_digit);
  if (type == ValueType::duration && digits) return fmt::format("did you mean {}ms?", text);
  if (type == ValueType::status && !text.empty() && text[0] >= '1' && text[0] <= '5' &&
      text.find_first_of("xX") != text.npos)
    return fmt::format("did you mean {}xx?", text[0]);
  if (type == ValueType::address) {
    if (const auto network = base::parse_network(text); !network) return network.error().text;
  }
  return {};
}

/// Where an operator stands inside a word that has no blanks around it; npos: nowhere.
std::size_t swallowed_operator(std::string_view word) {
  std::size_t first = word.npos;
  for (const std::string_view joint : {"|~", "&~", "|!", "&!", "||", "&&"})
    first = std::min(first, word.find(joint));
  return first;
}

bool ends_with_bar(std::string_view expression) {
  if (!expression.ends_with('|')) return false;
  const auto before = expression.substr(0, expression.size() - 1);
  const auto backslashes = before.size() - (before.find_last_not_of('\\') + 1);
  return backslashes % 2 == 0;
}

}  // namespace

std::nullopt_t OperandReader::fail(Problem problem, std::string_view expected, std::string hint) {
  problem_ = std::move(problem);
  problem_.expected = expected;
  problem_.hint = std::move(hint);
  return std::nullopt;
}

OperandReader::Parsed OperandReader::flag(const Field& field) {
  Test test;
  test.field = &field;
  return leaf(std::move(test));
}

std::optional<OperandReader::Value> OperandReader::value(const Field& field, Comparison comparison,
                                                         bool in_set) {
  reader_.skip_blanks();
  Value value;
  value.at = reader_.at();
  const std::string_view expected =
      comparison == Comparison::matches ? kRegex : expected_value(field);
  if (reader_.peek() == '"' || reader_.peek() == '\'') {
    auto text = reader_.take_quoted();
    if (!text)
      return fail(reader_.problem_at(value.at, std::string_view::npos), "the quote that ends it",
                  fmt::format("the quote at {} is open; \\\" and \\' are quotes inside of quotes",
                              value.at));
    value.text = std::move(*text);
    value.length = reader_.at() - value.at;
    value.quoted = true;
    return value;
  }
  const bool blank_after = is_blank(reader_.peek(1)) || reader_.peek(1) == '\0';
  const bool joint = (reader_.peek() == '&' || reader_.peek() == '|') && blank_after;
  const bool other = reader_.peek() == '~' && base::is_letter(reader_.peek(1)) && !in_set;
  if (reader_.at_end() || reader_.peek() == ')' || joint || other)
    return fail(reader_.problem_at(value.at), expected);
  if (in_set) {
    value.text = reader_.take_until(",})");
  } else if (is_text(field.type)) {
    value.text = reader_.take_regex_word();
  } else {
    value.text = reader_.take_until("),}&|");
  }
  value.length = reader_.at() - value.at;
  return value;
}

bool OperandReader::check_expression(const Value& value) {
  const std::size_t offset = value.at + (value.quoted ? 1 : 0);
  const std::size_t swallowed = value.quoted ? std::string::npos : swallowed_operator(value.text);
  const std::string hint =
      "put spaces around an operator; a regular expression that contains it stands in quotes";
  if (swallowed != std::string::npos) {
    fail(reader_.problem_at(offset + swallowed, 2), kRegex, hint);
    return false;
  }
  const bool front = value.text.starts_with('|');
  if (front || ends_with_bar(value.text)) {
    Problem problem = reader_.problem_at(value.at, value.length);
    problem.found = fmt::format("'|' at the {} of {}", front ? "beginning" : "end", problem.found);
    fail(std::move(problem), kRegex,
         "an empty alternative matches everything; put spaces around | to join two filters");
    return false;
  }
  const auto open = std::ranges::count(value.text, '(');
  const bool cut = !value.quoted && open > std::ranges::count(value.text, ')') &&
                   value.text.find_first_of("\\[") == std::string::npos;
  if (cut) {
    fail(reader_.problem_at(value.at, value.length), "a closing parenthesis",
         "a regular expression with blanks stands in quotes");
    return false;
  }
  return true;
}

bool OperandReader::check_plain(const Value& value) {
  const auto joint = value.quoted ? std::string::npos : value.text.find_first_of("&|");
  if (joint == std::string::npos) return true;
  fail(reader_.problem_at(value.at + joint, 1), "a text without & and |",
       "put spaces around an operator, or quotes around the text");
  return false;
}

bool OperandReader::compile(const Field& field, const Value& value, Predicate& predicate) {
  if (predicate.comparison != Comparison::matches) {
    compile_text(value.text, field.scan, predicate);
    return true;
  }
  if (!check_expression(value)) return false;
  Problem problem = reader_.problem_at(value.at, value.length);
  if (compile_expression(value.text, field.scan, predicate, problem)) return true;
  problem_ = std::move(problem);
  return false;
}

bool OperandReader::add_operand(const Field& field, const Value& value, Predicate& predicate) {
  auto operand = parse_operand(field.type, spelled_as_in_flows(field, predicate, value.text),
                               options_.now, field.relative);
  if (!operand || (is_order(predicate.comparison) && !operand->range)) {
    fail(reader_.problem_at(value.at, value.length),
         operand ? std::string_view("a number") : expected_value(field),
         value_hint(field.type, value.text));
    return false;
  }
  if (is_text(field.type)) compile_equality(*operand, options_.case_sensitive);
  predicate.operands.push_back(std::move(*operand));
  return true;
}

bool OperandReader::read_set(const Field& field, Predicate& predicate) {
  reader_.skip_blanks();
  if (!reader_.take("{")) {
    if (is_text(field.type)) {
      fail(reader_.problem_at(reader_.at()), "a set such as {a, b}");
      return false;
    }
    const auto single = value(field, Comparison::in, false);
    return single && add_operand(field, *single, predicate);
  }
  while (true) {
    const auto element = value(field, Comparison::in, true);
    if (!element || !add_operand(field, *element, predicate)) return false;
    reader_.skip_blanks();
    if (reader_.take("}")) return true;
    const bool more = reader_.take(",") || !reader_.at_end();
    if (!more) {
      fail(reader_.problem_at(reader_.at()), "',' or '}'");
      return false;
    }
    reader_.skip_blanks();
    if (reader_.take("}")) return true;
  }
}

bool OperandReader::allows(const Field& field, Comparison comparison, std::size_t at) {
  const std::size_t length = std::max<std::size_t>(reader_.at() - at, 1);
  switch (field.type) {
    case ValueType::json:
      return true;
    case ValueType::text:
      if (!is_order(comparison)) return true;
      fail(reader_.problem_at(at, length), kTextComparisons,
           fmt::format("{} is a text", field.name));
      return false;
    case ValueType::flag:
      fail(reader_.problem_at(at, length), "the end of the comparison",
           fmt::format("{0} is true or false by itself: write {0} or !{0}", field.name));
      return false;
    case ValueType::address:
      if (!is_order(comparison) && !is_search(comparison)) return true;
      fail(reader_.problem_at(at, length), "==, != or in",
           fmt::format("{} is an address; write a network: {} == 10.0.0.0/8", field.name,
                       field.name));
      return false;
    default:
      if (!is_search(comparison)) return true;
      fail(reader_.problem_at(at, length), "==, !=, <, <=, >, >= or in",
           fmt::format("{} is a number", field.name));
      return false;
  }
}

OperandReader::Parsed OperandReader::finish(const Field& field, std::string key,
                                            Predicate predicate) {
  Test test;
  test.field = &field;
  if (field.type == ValueType::json) test.path = parse_json_path(key).value_or(JsonPath());
  test.key = std::move(key);
  test.predicate = std::move(predicate);
  return leaf(std::move(test));
}

bool OperandReader::needs_key(const Field& field, std::size_t at) {
  if (field.keyed != Keyed::required) return false;
  fail(reader_.problem_at(at), fmt::format("{}[\"...\"]", field.name),
       fmt::format("for example: {}", field.example));
  return true;
}

OperandReader::Parsed OperandReader::comparison(const Field& field, std::string key,
                                                Comparison comparison, std::size_t comparison_at) {
  if (!allows(field, comparison, comparison_at)) return std::nullopt;
  if (key.empty() && needs_key(field, comparison_at)) return std::nullopt;
  Predicate predicate;
  predicate.comparison = comparison;
  predicate.type = field.type;
  predicate.case_sensitive = options_.case_sensitive;
  if (comparison == Comparison::in) {
    if (!read_set(field, predicate)) return std::nullopt;
    return finish(field, std::move(key), std::move(predicate));
  }
  const auto operand = value(field, comparison, false);
  if (!operand ||
      (comparison != Comparison::matches && is_text(field.type) && !check_plain(*operand)) ||
      !add_operand(field, *operand, predicate))
    return std::nullopt;
  if (is_search(comparison) && !compile(field, *operand, predicate)) return std::nullopt;
  return finish(field, std::move(key), std::move(predicate));
}

OperandReader::Parsed OperandReader::with_key(const Field& field, std::size_t begin) {
  const std::size_t key_at = reader_.at();
  if (field.keyed == Keyed::no)
    return fail(reader_.problem_at(key_at), "a comparison",
                fmt::format("{} has no key", field.name));
  reader_.take("[");
  std::string key;
  if (reader_.peek() == '"' || reader_.peek() == '\'') {
    auto text = reader_.take_quoted();
    if (!text)
      return fail(reader_.problem_at(key_at + 1, std::string_view::npos), "the quote that ends it");
    key = std::move(*text);
  } else {
    key = reader_.take_until("]");
  }
  if (!reader_.take("]") || key.empty())
    return fail(reader_.problem_at(key_at), fmt::format("[\"...\"] behind {}", field.name));
  if (field.type == ValueType::json && !parse_json_path(key))
    return fail(reader_.problem_at(key_at, reader_.at() - key_at),
                "a path such as $.a.b, $.list[0] or $.list[*]");
  reader_.skip_blanks();
  const std::size_t comparison_at = reader_.at();
  const auto comparison = reader_.take_comparison();
  if (!comparison)
    return fail(reader_.problem_at(comparison_at),
                field.type == ValueType::json ? "a comparison" : kTextComparisons,
                fmt::format("that there is one: {} ~= \"\"",
                            reader_.slice(begin, std::max(key_at, comparison_at))));
  return this->comparison(field, std::move(key), *comparison, comparison_at);
}

OperandReader::Parsed OperandReader::regex(const Field& field) {
  const std::size_t at = reader_.at();
  return comparison(field, {}, Comparison::matches, at);
}

OperandReader::Parsed OperandReader::since(const Field& field) {
  reader_.skip_blanks();
  const std::size_t at = reader_.at();
  const auto given = reader_.take_comparison();
  return comparison(field, {}, given.value_or(Comparison::greater_equal), at);
}

OperandReader::Parsed OperandReader::of_operator(const Field& field, std::size_t begin) {
  const std::size_t name_end = reader_.at();
  const char next = reader_.peek();
  const bool symbol = is_text(field.type)
                          ? next == '"' || next == '\''
                          : std::string_view("<>=!{\"'").find(next) != std::string_view::npos;
  if (!reader_.at_word_end() && !symbol) {
    Problem problem = reader_.problem_at(begin);
    std::string hint = fmt::format("write {} {}", reader_.slice(begin, name_end),
                                   reader_.slice(name_end, begin + problem.length));
    return fail(std::move(problem), "a blank behind the operator", std::move(hint));
  }
  if (is_text(field.type)) return regex(field);
  if (field.type == ValueType::time) return since(field);
  reader_.skip_blanks();
  const std::size_t at = reader_.at();
  auto given = reader_.take_comparison();
  const bool sized = field.type == ValueType::size || field.type == ValueType::duration;
  if (!given && sized && !reader_.at_end())
    return fail(reader_.problem_at(at), "a comparison such as >10k or <300ms",
                fmt::format("for example: {}", field.example));
  if (!given && reader_.peek() == '{') given = Comparison::in;
  return comparison(field, {}, given.value_or(Comparison::equal), at);
}

}  // namespace mitm::query
