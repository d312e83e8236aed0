// The text of a pf.conf as tokens, for pf_grammar.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pf_grammar {

/// A word, a quoted string, a table's name with its <>, "->", a punctuation mark or a newline.
struct Token {
  std::string text;
  std::size_t line = 1;
  bool quoted = false;
};
using Tokens = std::vector<Token>;

/// Ends with a newline. Errors: "line N: ...".
base::Result<Tokens> tokens_of(std::string_view text);

}  // namespace pf_grammar
