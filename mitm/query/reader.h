// The characters of a filter's text, taken in the pieces that its grammar has.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "mitm/query/predicate.h"
#include "mitm/query/problem.h"

namespace mitm::query {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  [[nodiscard]] std::size_t at() const { return at_; }
  void go_to(std::size_t at) { at_ = at; }
  [[nodiscard]] bool at_end() const { return at_ >= text_.size(); }
  /// 0 at the end.
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] std::string_view slice(std::size_t begin, std::size_t end) const {
    return text_.substr(begin, end - begin);
  }
  /// Whether what stands here is not part of a word: a blank, a closing parenthesis, the end.
  [[nodiscard]] bool at_word_end(std::size_t ahead = 0) const;

  void skip_blanks();
  /// Takes `text` if it stands here.
  bool take(std::string_view text);
  /// Takes a word of the language (and, contains), in any case, if it stands here by itself.
  bool take_word(std::string_view word);
  /// Letters, digits, _ and dots, not beginning with a digit or dot; empty if there are none.
  std::string_view take_identifier();
  /// From `begin` on also dashes, which header fields have in their names and ours have not.
  std::string_view take_dashed_name(std::size_t begin);
  std::string_view take_letters();
  /// Up to a blank or a parenthesis that was not opened in it; what stands in parentheses or
  /// brackets, or behind a backslash, is part of it.
  std::string_view take_regex_word();
  /// Up to one of `ends` or a blank.
  std::string_view take_until(std::string_view ends);
  /// What is in the quotes that begin here: \" \' \\ are escapes, all other backslashes stay.
  /// Empty: they do not end.
  std::optional<std::string> take_quoted();
  /// == != <= >= < > ~= or a word; empty: none stands here.
  std::optional<Comparison> take_comparison();

  /// What stands at `at`, for errors.
  [[nodiscard]] Problem problem_at(std::size_t at, std::size_t length) const;
  /// The same of the word that begins there.
  [[nodiscard]] Problem problem_at(std::size_t at) const;

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

[[nodiscard]] constexpr bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

}  // namespace mitm::query
