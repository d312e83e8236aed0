// What continues a line, what quotes and where a word ends is as in pfctl's own lexer (lgetc and
// yylex in parse.y), not as one would expect: a line put in the wrong place would become part of a
// comment.
#include "pfctl/pf_statements.h"

#include "base/ascii.h"

namespace pfctl {
namespace {

bool is_alphanumeric(char c) {
  return base::is_letter(c) || base::is_digit(c);
}

bool begins_word(char c) {
  return is_alphanumeric(c) || c == ':' || c == '_';
}

// Quotes inside a word are part of it.
bool continues_word(char c) {
  return c > ' ' && c < 0x7f && std::string_view("(){}<>!=/#,\\").find(c) == std::string_view::npos;
}

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  base::Result<std::vector<PfStatement>> split() {
    while (at_ < text_.size()) {
      if (auto good = step(); !good) return good.error();
    }
    if (!open_braces_.empty())
      return base::failure("line {}: this brace is never closed", open_braces_.back());
    if (continues_) return base::failure("line {}: the last line ends with a backslash", line_ - 1);
    if (at_ > statement_.begin) close();
    return std::move(statements_);
  }

 private:
  base::Result<> step() {
    const char c = text_[at_];
    if (c == '\n') return newline();
    if (skip_continuation()) return {};
    continues_ = false;
    if (c == '\0') return base::failure("line {}: a NUL byte; this is not a pf.conf", line_);
    if (c == '\r') return carriage_return();
    if (c == ' ' || c == '\t') return skip(1);
    if (c == '#') return comment();
    if (c == '"' || c == '\'') return quoted(c);
    if (begins_word(c)) return word();
    return punctuation(c);
  }

  base::Result<> skip(std::size_t count) {
    at_ += count;
    return {};
  }

  base::Result<> newline() {
    ++at_;
    ++line_;
    continues_ = false;
    if (open_braces_.empty()) close();
    return {};
  }

  /// A backslash and the end of a line: both are as if they were not there.
  bool skip_continuation() {
    const std::string_view rest = text_.substr(at_);
    std::size_t length = 0;
    if (rest.starts_with("\\\n")) length = 2;
    if (rest.starts_with("\\\r\n")) length = 3;
    if (rest == "\\") length = 1;
    if (length == 0) return false;
    at_ += length;
    ++line_;
    continues_ = true;
    return true;
  }

  base::Result<> carriage_return() {
    if (!text_.substr(at_).starts_with("\r\n")) {
      return base::failure("line {}: a carriage return that does not end the line", line_);
    }
    return skip(1);
  }

  base::Result<> comment() {
    while (at_ < text_.size() && text_[at_] != '\n') {
      if (skip_continuation()) continue;
      continues_ = false;
      if (text_[at_] == '\0')
        return base::failure("line {}: a NUL byte; this is not a pf.conf", line_);
      if (text_[at_] == '\r') {
        if (auto good = carriage_return(); !good) return good;
        continue;
      }
      ++at_;
    }
    return {};
  }

  base::Result<> quoted(char quote) {
    const std::size_t first_line = line_;
    std::string content;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == quote) {
        add({std::move(content), true}, first_line);
        return skip(1);
      }
      if (c == '\0') return base::failure("line {}: a NUL byte; this is not a pf.conf", line_);
      if (c == '\r' && !text_.substr(at_).starts_with("\r\n")) return carriage_return();
      if (c == '\n') ++line_;
      const char next = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
      if (c == '\\' && (next == quote || next == ' ' || next == '\t')) {
        content.push_back(next);
        ++at_;
      } else if (c != '\n' && c != '\r') {
        content.push_back(c);
      }
    }
    return base::failure("line {}: this quote is never closed", first_line);
  }

  base::Result<> word() {
    const std::size_t first = at_;
    while (at_ < text_.size() && continues_word(text_[at_])) ++at_;
    add({std::string(text_.substr(first, at_ - first)), false}, line_);
    return {};
  }

  base::Result<> punctuation(char c) {
    if (c == '{') open_braces_.push_back(line_);
    if (c == '}') {
      if (open_braces_.empty()) return base::failure("line {}: this brace was never opened", line_);
      open_braces_.pop_back();
    }
    add({std::string(1, c), false}, line_);
    return skip(1);
  }

  void add(PfWord word, std::size_t line) {
    if (statement_.words.empty()) statement_.line = line;
    statement_.words.push_back(std::move(word));
  }

  void close() {
    statement_.end = at_;
    statements_.push_back(std::move(statement_));
    statement_ = {.begin = at_, .end = at_, .line = line_, .words = {}};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  bool continues_ = false;  ///< the last thing seen was a continuation
  std::vector<std::size_t> open_braces_;
  PfStatement statement_;
  std::vector<PfStatement> statements_;
};

}  // namespace

base::Result<std::vector<PfStatement>> parse_pf_statements(std::string_view text) {
  return Splitter(text).split();
}

}  // namespace pfctl
