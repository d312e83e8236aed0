// Words, quotes and what may surround them.
#include "mitm/query/reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/ascii.h"
#include "base/text.h"

namespace mitm::query {
namespace {

bool is_identifier(char c) {
  return base::is_letter(c) || base::is_digit(c) || c == '_' || c == '.';
}

constexpr std::array kSymbols{std::pair{std::string_view("=="), Comparison::equal},
                              std::pair{std::string_view("!="), Comparison::not_equal},
                              std::pair{std::string_view("<="), Comparison::less_equal},
                              std::pair{std::string_view(">="), Comparison::greater_equal},
                              std::pair{std::string_view("~="), Comparison::matches},
                              std::pair{std::string_view("<"), Comparison::less},
                              std::pair{std::string_view(">"), Comparison::greater}};
constexpr std::array kWords{std::pair{std::string_view("contains"), Comparison::contains},
                            std::pair{std::string_view("startswith"), Comparison::starts_with},
                            std::pair{std::string_view("endswith"), Comparison::ends_with},
                            std::pair{std::string_view("matches"), Comparison::matches},
                            std::pair{std::string_view("in"), Comparison::in}};

}  // namespace

std::string Problem::message() const {
  std::string text = "found " + found + ", expected " + expected;
  return hint.empty() ? text : text + "; " + hint;
}

bool Reader::at_word_end(std::size_t ahead) const {
  return at_ + ahead >= text_.size() || is_blank(peek(ahead)) || peek(ahead) == ')';
}

void Reader::skip_blanks() {
  while (!at_end() && is_blank(text_[at_])) ++at_;
}

bool Reader::take(std::string_view text) {
  if (text_.substr(at_, text.size()) != text) return false;
  at_ += text.size();
  return true;
}

bool Reader::take_word(std::string_view word) {
  if (!base::iequals(text_.substr(at_, word.size()), word)) return false;
  const char next = peek(word.size());
  if (!at_word_end(word.size()) && std::string_view("(\"'{!~").find(next) == std::string_view::npos)
    return false;
  at_ += word.size();
  return true;
}

std::string_view Reader::take_identifier() {
  std::size_t end = at_;
  if (!at_end() && (base::is_letter(text_[at_]) || text_[at_] == '_'))
    while (end < text_.size() && is_identifier(text_[end])) ++end;
  const auto identifier = slice(at_, end);
  at_ = end;
  return identifier;
}

std::string_view Reader::take_dashed_name(std::size_t begin) {
  at_ = begin;
  while (is_identifier(peek()) || peek() == '-') ++at_;
  return slice(begin, at_);
}

std::string_view Reader::take_letters() {
  const std::size_t begin = at_;
  while (base::is_letter(peek())) ++at_;
  return slice(begin, at_);
}

std::string_view Reader::take_regex_word() {
  const std::size_t begin = at_;
  std::size_t open = 0;
  std::size_t class_end = 0;
  for (; !at_end() && !is_blank(text_[at_]); ++at_) {
    const char c = text_[at_];
    if (c == '\\') {
      if (at_ + 1 < text_.size()) ++at_;
    } else if (at_ < class_end) {
      continue;
    } else if (c == '[') {
      // "]" is itself where it comes first.
      const std::size_t first = peek(1) == '^' ? at_ + 3 : at_ + 2;
      const std::size_t close = text_.find(']', std::min(first, text_.size()));
      const std::size_t blank = text_.find_first_of(" \t\r\n\f\v", at_);
      if (close != text_.npos && close < blank) class_end = close;
    } else if (c == '(') {
      ++open;
    } else if (c == ')') {
      if (open == 0) break;
      --open;
    }
  }
  return slice(begin, at_);
}

std::string_view Reader::take_until(std::string_view ends) {
  const std::size_t begin = at_;
  while (!at_end() && !is_blank(text_[at_]) && ends.find(text_[at_]) == ends.npos) ++at_;
  return slice(begin, at_);
}

std::optional<std::string> Reader::take_quoted() {
  const char quote = text_[at_];
  std::string out;
  for (std::size_t i = at_ + 1; i < text_.size(); ++i) {
    const char c = text_[i];
    if (c == quote) {
      at_ = i + 1;
      return out;
    }
    const char next = i + 1 < text_.size() ? text_[i + 1] : '\0';
    if (c == '\\' && (next == '"' || next == '\'' || next == '\\')) {
      out += next;
      ++i;
    } else {
      out += c;
    }
  }
  return std::nullopt;
}

std::optional<Comparison> Reader::take_comparison() {
  for (const auto& [symbol, comparison] : kSymbols)
    if (take(symbol)) return comparison;
  for (const auto& [word, comparison] : kWords)
    if (take_word(word)) return comparison;
  return std::nullopt;
}

Problem Reader::problem_at(std::size_t at, std::size_t length) const {
  Problem problem;
  problem.at = std::min(at, text_.size());
  problem.length = std::min(length, text_.size() - problem.at);
  constexpr std::size_t kLongest = 60;
  const auto part = text_.substr(problem.at, std::min(problem.length, kLongest));
  problem.found = problem.at == text_.size()
                      ? "the end of the filter"
                      : "'" + base::printable(part) + (problem.length > kLongest ? "...'" : "'");
  return problem;
}

Problem Reader::problem_at(std::size_t at) const {
  std::size_t end = at;
  while (end < text_.size() && !is_blank(text_[end])) ++end;
  return problem_at(at, end - at);
}

}  // namespace mitm::query
