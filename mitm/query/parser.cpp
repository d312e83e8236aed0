// The grammar, from the loosest to the tightest: filters side by side, |, &, !, and one test.
#include "mitm/query/parser.h"

#include <fmt/format.h>

#include "base/ascii.h"
#include "mitm/query/operand_reader.h"
#include "mitm/query/reader.h"

namespace mitm::query {
namespace {

/// Parentheses and "!" within each other.
constexpr std::size_t kDeepest = 100;
constexpr std::string_view kAnyFilter =
    "a filter such as ~u REGEX, status == 500 or a word of the URL";

class Parser {
 public:
  Parser(std::string_view text, const Options& options)
      : text_(text), reader_(text), operands_(reader_, options, problem_) {}

  ParsedText run();

 private:
  using Parsed = std::optional<Node>;

  Parsed side_by_side(bool grouped);
  Parsed any_of();
  Parsed all_of();
  Parsed negation();
  Parsed one();
  Parsed group();
  Parsed tilde();
  Parsed named();
  Parsed dashed_word(std::size_t begin);
  Parsed url_word(std::size_t begin);
  Parsed quoted_url();

  bool at_or();
  bool at_and();
  [[nodiscard]] bool at_operand() const;
  std::nullopt_t fail(Problem problem, std::string_view expected, std::string hint = {});
  void warn_of_mixture(const std::vector<Node>& parts, std::size_t begin);
  Parsed counted(Parsed node);

  std::string_view text_;
  Problem problem_;
  std::vector<Warning> warnings_;
  Reader reader_;
  OperandReader operands_;
  std::size_t depth_ = 0;
  std::size_t tests_ = 0;
  bool joined_by_or_ = false;  ///< the node read last was made by |, without parentheses
};

std::nullopt_t Parser::fail(Problem problem, std::string_view expected, std::string hint) {
  problem_ = std::move(problem);
  problem_.expected = expected;
  problem_.hint = std::move(hint);
  return std::nullopt;
}

ParsedText Parser::run() {
  reader_.skip_blanks();
  Parsed tree;
  if (text_.size() > kMaxText) {
    fail(reader_.problem_at(kMaxText), "at most " + std::to_string(kMaxText) + " bytes of filter");
  } else if (reader_.at_end()) {
    tree = operands_.flag(*find_field("all"));
  } else {
    tree = side_by_side(false);
  }
  return {std::move(tree), std::move(problem_), std::move(warnings_)};
}

void Parser::warn_of_mixture(const std::vector<Node>& parts, std::size_t begin) {
  std::string reading;
  for (const Node& part : parts) {
    if (!reading.empty()) reading += " and ";
    const bool single = part.kind == Node::Kind::test || part.kind == Node::Kind::negation;
    reading += single ? render(part) : "(" + render(part) + ")";
  }
  warnings_.push_back({begin, reader_.at() - begin,
                       "filters side by side are joined after |: this is read as " + reading +
                           "; write & or parentheses"});
}

Parser::Parsed Parser::side_by_side(bool grouped) {
  const std::size_t begin = reader_.at();
  std::vector<Node> parts;
  bool mixed = false;
  while (true) {
    auto part = any_of();
    if (!part) return part;
    mixed = mixed || joined_by_or_;
    parts.push_back(std::move(*part));
    reader_.skip_blanks();
    if (reader_.at_end()) break;
    if (reader_.peek() == ')') {
      if (grouped) break;
      return fail(reader_.problem_at(reader_.at(), 1), "the end of the filter",
                  "no parenthesis is open; one that belongs to a regular expression is written \\) "
                  "or in quotes");
    }
  }
  if (parts.size() > 1 && mixed) warn_of_mixture(parts, begin);
  if (parts.size() > 1) joined_by_or_ = false;
  return join(Node::Kind::all_of, std::move(parts));
}

bool Parser::at_or() {
  reader_.skip_blanks();
  return reader_.take("||") || reader_.take("|") || reader_.take_word("or");
}

bool Parser::at_and() {
  reader_.skip_blanks();
  return reader_.take("&&") || reader_.take("&") || reader_.take_word("and");
}

Parser::Parsed Parser::any_of() {
  std::vector<Node> parts;
  do {
    auto part = all_of();
    if (!part) return part;
    parts.push_back(std::move(*part));
  } while (at_or());
  joined_by_or_ = parts.size() > 1;
  return join(Node::Kind::any_of, std::move(parts));
}

Parser::Parsed Parser::all_of() {
  std::vector<Node> parts;
  do {
    auto part = negation();
    if (!part) return part;
    parts.push_back(std::move(*part));
  } while (at_and());
  return join(Node::Kind::all_of, std::move(parts));
}

Parser::Parsed Parser::negation() {
  reader_.skip_blanks();
  if (!reader_.take("!") && !reader_.take_word("not")) return counted(one());
  if (++depth_ > kDeepest)
    return fail(reader_.problem_at(reader_.at() - 1, 1), "at most 100 parentheses and ! in a row");
  auto inner = negation();
  --depth_;
  if (!inner) return inner;
  return negate(std::move(*inner));
}

Parser::Parsed Parser::counted(Parsed node) {
  if (node && node->kind == Node::Kind::test && ++tests_ > kMaxTests)
    return fail(reader_.problem_at(reader_.at(), 0),
                "at most " + std::to_string(kMaxTests) + " comparisons");
  return node;
}

Parser::Parsed Parser::one() {
  reader_.skip_blanks();
  const std::size_t at = reader_.at();
  switch (reader_.peek()) {
    case '(':
      return group();
    case '~':
      return tilde();
    case '"':
    case '\'':
      return quoted_url();
    case ')':
    case '|':
    case '&':
    case '\0':
      return fail(reader_.problem_at(at, 1), kAnyFilter);
    default:
      break;
  }
  if (reader_.take_word("and") || reader_.take_word("or"))
    return fail(reader_.problem_at(at, reader_.at() - at), kAnyFilter,
                "a word of a URL that is spelled so stands in quotes");
  return named();
}

Parser::Parsed Parser::group() {
  const std::size_t open = reader_.at();
  reader_.take("(");
  if (++depth_ > kDeepest)
    return fail(reader_.problem_at(open, 1), "at most 100 parentheses and ! in a row");
  auto inner = side_by_side(true);
  --depth_;
  if (!inner) return inner;
  if (!reader_.take(")"))
    return fail(reader_.problem_at(reader_.at()), "')'",
                "the parenthesis at " + std::to_string(open) + " is open");
  if (!reader_.at_word_end() && reader_.peek() != '|' && reader_.peek() != '&')
    warnings_.push_back({open, reader_.at() - open,
                         "what stands in these parentheses is a filter, and so is what follows; a "
                         "regular expression that begins with a parenthesis stands in quotes or "
                         "behind ~u"});
  return inner;
}

Parser::Parsed Parser::tilde() {
  const std::size_t begin = reader_.at();
  reader_.take("~");
  const auto letter = base::lowercase(reader_.take_letters());
  const Field* const field = find_operator(letter);
  if (field == nullptr)
    return fail(reader_.problem_at(begin), "an operator such as ~u, ~c or ~p",
                near_operators(letter));
  if (!field->never.empty())
    warnings_.push_back({begin, reader_.at() - begin,
                         "~" + letter + " never matches: " + std::string(field->never)});
  if (field->type == ValueType::flag) return operands_.flag(*field);
  return operands_.of_operator(*field, begin);
}

Parser::Parsed Parser::quoted_url() {
  return operands_.regex(*find_field("url"));
}

Parser::Parsed Parser::url_word(std::size_t begin) {
  reader_.go_to(begin);
  return operands_.regex(*find_field("url"));
}

/// "user-agent == x": no field has a dash in its name, and what follows is no word of a URL.
Parser::Parsed Parser::dashed_word(std::size_t begin) {
  const auto name = base::lowercase(reader_.take_dashed_name(begin));
  const std::size_t end = reader_.at();
  reader_.skip_blanks();
  const auto comparison = reader_.take_comparison();
  const bool word_in =
      comparison == Comparison::in && (reader_.skip_blanks(), reader_.peek() != '{');
  if (!comparison || word_in || name.ends_with('-')) return url_word(begin);
  const bool header = name.find('.') == name.npos;
  const std::string hint =
      header ? fmt::format("did you mean req.header[\"{0}\"] or resp.header[\"{0}\"]?", name)
             : near_fields(name);
  return fail(reader_.problem_at(begin, end - begin), "a field",
              hint + "; a word of a URL that is spelled so stands in quotes");
}

Parser::Parsed Parser::named() {
  const std::size_t begin = reader_.at();
  const auto name = base::lowercase(reader_.take_identifier());
  if (name.empty()) return url_word(begin);
  const std::size_t name_end = reader_.at();
  const Field* const field = find_field(name);
  const bool quoted_key =
      reader_.peek() == '[' && (reader_.peek(1) == '"' || reader_.peek(1) == '\'');
  const bool with_key =
      quoted_key || (field != nullptr && field->keyed != Keyed::no && reader_.peek() == '[');
  if (with_key) {
    if (field == nullptr)
      return fail(reader_.problem_at(begin, name_end - begin), "a field", near_fields(name));
    return operands_.with_key(*field, begin);
  }
  const bool adjacent = !reader_.at_word_end();
  if (reader_.peek() == '-') return dashed_word(begin);
  reader_.skip_blanks();
  const std::size_t comparison_at = reader_.at();
  const bool single = reader_.peek() == '=' && reader_.peek(1) != '=';
  const auto comparison = reader_.take_comparison();
  // "in" is a word as any other, unless a set or a known field makes it more.
  const bool word_in = comparison == Comparison::in && field == nullptr;
  if (comparison && field == nullptr &&
      !(word_in && (reader_.skip_blanks(), reader_.peek() != '{')))
    return fail(reader_.problem_at(begin, name_end - begin), "a field",
                near_fields(name) + "; a word of a URL that is spelled so stands in quotes");
  if (field == nullptr) return url_word(begin);
  if (comparison) return operands_.comparison(*field, {}, *comparison, comparison_at);
  if (single)
    return fail(reader_.problem_at(comparison_at, 1), "== or another comparison",
                "a URL that contains '" + name + "=' is written in quotes");
  reader_.go_to(name_end);
  const bool operator_follows = reader_.peek() == '&' || reader_.peek() == '|';
  if (field->type == ValueType::flag && (!adjacent || operator_follows))
    return operands_.flag(*field);
  if (adjacent) return url_word(begin);
  if (name == "since") return operands_.since(*field);
  warnings_.push_back({begin, name_end - begin,
                       "'" + name + "' is looked for in URLs; the field is written " + name +
                           (field->type == ValueType::text ? " == ..." : " > ...") +
                           ", and a word of a URL in quotes"});
  return url_word(begin);
}

}  // namespace

ParsedText parse_text(std::string_view text, const Options& options) {
  return Parser(text, options).run();
}

}  // namespace mitm::query
