// How a pf.conf falls into statements.
#include "pfctl/pf_statements.h"

#include "tests/test.h"

namespace {

/// "LINE: word word" a statement that has words; a quoted word in brackets.
std::vector<std::string> seen(std::string_view text) {
  std::vector<std::string> out;
  const auto statements = pfctl::parse_pf_statements(text);
  if (!statements) return {statements.error().text};
  std::size_t at = 0;
  for (const auto& statement : *statements) {
    CHECK(statement.begin == at);
    at = statement.end;
    if (statement.words.empty()) continue;
    out.push_back(std::to_string(statement.line) + ":");
    for (const auto& word : statement.words)
      out.back() += word.quoted ? " [" + word.text + "]" : " " + word.text;
  }
  CHECK(at == text.size());
  return out;
}

}  // namespace

TEST_CASE("pf_statements: logical lines") {
  const struct {
    std::string_view text;
    std::vector<std::string> seen;
  } cases[] = {
      {"", {}},
      {"\n\n", {}},
      {"# pass all\n", {}},
      {"pass all", {"1: pass all"}},
      {"pass all\nblock in\n", {"1: pass all", "2: block in"}},
      {"pass all\r\nblock in\r\n", {"1: pass all", "2: block in"}},
      {"pass in \\\n  on em0\nblock\n", {"1: pass in on em0", "3: block"}},
      {"pass in \\\r\n  on em0\r\n", {"1: pass in on em0"}},
      {"  \\\npass all\n", {"2: pass all"}},
      {"# a comment that goes on \\\npass all\nblock\n", {"3: block"}},
      {"pass # \"an open quote { in a comment\nblock\n", {"1: pass", "2: block"}},
      {"x = \"a # b\"\n", {"1: x = [a # b]"}},
      {"x = 'a \"b'\n", {"1: x = [a \"b]"}},
      {"x = \"a \\\" b\"\n", {"1: x = [a \" b]"}},
      {"x = \"a\n b\"\npass\n", {"1: x = [a b]", "3: pass"}},
      {"x = \"{\"\npass\n", {"1: x = [{]", "2: pass"}},
      {"pass to { a,\n b }\nblock\n", {"1: pass to { a , b }", "3: block"}},
      {"anchor \"x\" {\n pass # }\n}\nblock\n", {"1: anchor [x] { pass }", "4: block"}},
      {"anchor \"x\" { anchor \"y\" {\n pass\n}\n}\n", {"1: anchor [x] { anchor [y] { pass } }"}},
      {"pass to 10.0.0.0/8\n", {"1: pass to 10.0.0.0 / 8"}},
      {"pass on foo\"bar baz\n", {"1: pass on foo\"bar baz"}},
      {"x=\"y\"\n", {"1: x = [y]"}},
      {"pass from <t> to !$x\n", {"1: pass from < t > to ! $ x"}},
  };
  for (const auto& one : cases) {
    CAPTURE(one.text);
    CHECK(seen(one.text) == one.seen);
  }
}

TEST_CASE("pf_statements: what is malformed, and on which line") {
  using namespace std::string_view_literals;
  const struct {
    std::string_view text;
    std::string complaint;
  } cases[] = {
      {"pass\npass to { a,\n b\n", "line 2: this brace is never closed"},
      {"pass\n}\n", "line 2: this brace was never opened"},
      {"anchor \"a\" {\n anchor \"b\" {\n }\n", "line 1: this brace is never closed"},
      {"pass\nx = \"a\nb\n", "line 2: this quote is never closed"},
      {"x = 'a", "line 1: this quote is never closed"},
      {"pass\n\0\n"sv, "line 2: a NUL byte; this is not a pf.conf"},
      {"# \0\n"sv, "line 1: a NUL byte; this is not a pf.conf"},
      {"\n\n\"\0\"\n"sv, "line 3: a NUL byte; this is not a pf.conf"},
      {"pass\nblock\rpass\n", "line 2: a carriage return that does not end the line"},
      {"# a\rb\n", "line 1: a carriage return that does not end the line"},
      {"\"a\rb\"\n", "line 1: a carriage return that does not end the line"},
      {"pass\r", "line 1: a carriage return that does not end the line"},
      {"pass\nblock \\\n", "line 2: the last line ends with a backslash"},
      {"pass\nblock \\", "line 2: the last line ends with a backslash"},
      {"# pass \\\n", "line 1: the last line ends with a backslash"},
      {"# pass \\", "line 1: the last line ends with a backslash"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.text);
    CHECK(seen(one.text) == std::vector{one.complaint});
  }
}

TEST_CASE("pf_statements: cut at every offset") {
  const std::string text =
      "x = \"a \\\" b\"\r\nset skip on { lo0 \\\n em0 }\n# c \\\n d\nanchor \"y\" {\n pass # '\n"
      "}\npass to 'z'\n";
  for (std::size_t length = 0; length <= text.size(); ++length) {
    const auto part = std::string_view(text).substr(0, length);
    const auto statements = pfctl::parse_pf_statements(part);
    if (!statements) {
      CHECK(statements.error().text.starts_with("line "));
    } else {
      CHECK((statements->empty() ? 0 : statements->back().end) == length);
    }
  }
}
