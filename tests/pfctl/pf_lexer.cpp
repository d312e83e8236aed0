#include "tests/pfctl/pf_lexer.h"

#include <algorithm>

namespace pf_grammar {
namespace {

using base::Result;

// Words hold / and - and :, for addresses, flags and ranges.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<Tokens> run() {
    while (at_ < text_.size()) {
      if (auto good = step(); !good) return good.error();
    }
    tokens_.push_back({"\n", line_});
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] bool ahead(std::string_view what) const {
    return text_.substr(at_).starts_with(what);
  }

  bool continuation() {
    if (!ahead("\\\n") && !ahead("\\\r\n")) return false;
    at_ += ahead("\\\n") ? 2 : 3;
    ++line_;
    return true;
  }

  Result<> step() {
    const char c = text_[at_];
    if (continuation()) return {};
    if (c == '#') {
      while (at_ < text_.size() && text_[at_] != '\n') at_ += continuation() ? 0 : 1;
      return {};
    }
    if (c == ' ' || c == '\t' || c == '\r') {
      ++at_;
      return {};
    }
    if (c == '\n') {
      take(1);
      ++line_;
      return {};
    }
    if (c == '"' || c == '\'') return quoted(c);
    if (ahead("->")) return take(2);
    if (c == '<') {
      const auto end = text_.find_first_of("> \n", at_);
      const bool table = end != text_.npos && text_[end] == '>' && end > at_ + 1;
      return take(table ? end - at_ + 1 : 1);
    }
    if (std::string_view("(){}>!=,").find(c) != std::string_view::npos) return take(1);
    const auto end = text_.find_first_of(" \t\r\n(){}<>!=,#\"\\", at_);
    if (end == at_) return base::failure("line {}: unexpected character '{}'", line_, c);
    return take(std::min(end, text_.size()) - at_);
  }

  Result<> take(std::size_t length) {
    tokens_.push_back({std::string(text_.substr(at_, length)), line_});
    at_ += length;
    return {};
  }

  Result<> quoted(char quote) {
    const auto end = text_.find(quote, at_ + 1);
    if (end == text_.npos) return base::failure("line {}: unbalanced quote", line_);
    const auto content = text_.substr(at_ + 1, end - at_ - 1);
    tokens_.push_back({std::string(content), line_, true});
    line_ += static_cast<std::size_t>(std::ranges::count(content, '\n'));
    at_ = end + 1;
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  Tokens tokens_;
};

}  // namespace

Result<Tokens> tokens_of(std::string_view text) {
  return Lexer(text).run();
}

}  // namespace pf_grammar
