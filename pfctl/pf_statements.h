// The text of a pf.conf as statements, each with its place: enough to edit one without touching the
// rest.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pfctl {

struct PfWord {
  std::string text;  ///< of a quoted one without its quotes; punctuation is a word a character
  bool quoted = false;

  [[nodiscard]] bool is(std::string_view what) const { return !quoted && text == what; }
};

/// A logical line: up to a newline outside of braces, quotes and continuations. The lines of a text
/// follow each other without a gap; those that are blank or comment have no words.
struct PfStatement {
  std::size_t begin = 0;  ///< offset of its first byte
  std::size_t end = 0;    ///< one past its newline, or the end of the text
  std::size_t line = 1;   ///< of its first word, else of its first byte; from 1
  std::vector<PfWord> words;
};

/// Splits as pfctl's lexer does: a comment goes on after a backslash at the end of its line, a
/// quote may span lines, braces may. CR LF ends a line as well. Errors name the line: unbalanced
/// braces, an open quote, a NUL, a carriage return elsewhere, a last line that continues.
[[nodiscard]] base::Result<std::vector<PfStatement>> parse_pf_statements(std::string_view text);

}  // namespace pfctl
