// As much of GraphQL's grammar as it takes to find the definitions of a document.
#include "mitm/query/graphql.h"

#include <algorithm>

#include "base/ascii.h"

namespace mitm::query {
namespace {

bool is_name(char c) {
  return base::is_letter(c) || base::is_digit(c) || c == '_';
}

/// Blanks, commas and comments.
void skip_ignored(std::string_view& text) {
  while (!text.empty()) {
    if (text.front() == '#') {
      text.remove_prefix(std::min(text.find('\n'), text.size()));
    } else if (std::string_view(" \t\r\n,").find(text.front()) != std::string_view::npos) {
      text.remove_prefix(1);
    } else {
      return;
    }
  }
}

std::string_view take_name(std::string_view& text) {
  std::size_t size = 0;
  while (size < text.size() && is_name(text[size])) ++size;
  const auto name = text.substr(0, size);
  text.remove_prefix(size);
  return name;
}

void skip_string(std::string_view& text) {
  constexpr std::string_view kBlock = "\"\"\"";
  if (text.starts_with(kBlock)) {
    const auto end = text.find(kBlock, kBlock.size());
    text.remove_prefix(end == text.npos ? text.size() : end + kBlock.size());
    return;
  }
  std::size_t end = 1;
  while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
  text.remove_prefix(std::min(end + 1, text.size()));
}

/// Up to the end of the next selection set. False: the text ends before.
bool skip_selection(std::string_view& text) {
  std::size_t depth = 0;
  while (!text.empty()) {
    const char c = text.front();
    if (c == '"') {
      skip_string(text);
      continue;
    }
    if (c == '#') {
      skip_ignored(text);
      continue;
    }
    text.remove_prefix(1);
    // Braces inside parentheses are values of arguments: balanced as well.
    if (c == '{' || c == '(') ++depth;
    if ((c == '}' || c == ')') && depth > 0 && --depth == 0 && c == '}') return true;
  }
  return false;
}

}  // namespace

std::vector<GraphqlOperation> graphql_operations(std::string_view document) {
  std::vector<GraphqlOperation> operations;
  for (skip_ignored(document); !document.empty(); skip_ignored(document)) {
    GraphqlOperation operation{"query", {}};
    if (document.front() != '{') {
      const auto word = take_name(document);
      const bool fragment = word == "fragment";
      if (!fragment && word != "query" && word != "mutation" && word != "subscription") return {};
      operation.kind = word;
      skip_ignored(document);
      operation.name = take_name(document);
      if (fragment) {
        if (!skip_selection(document)) break;
        continue;
      }
    }
    operations.push_back(operation);
    // A document that was cut off still says what it began with.
    if (!skip_selection(document)) break;
  }
  return operations;
}

}  // namespace mitm::query
