// One item of a filter: from text, and checked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <re2/re2.h>
#include <sys/types.h>

#include "base/error.h"

namespace divert {

enum class ItemKind : std::uint8_t {
  pid,
  substring,
  name,
  prefix,
  glob,
  regex,
  user,
  group,
  cgroup,
  unknown
};

struct ParsedItem {
  ItemKind kind = ItemKind::substring;
  bool exclude = false;
  bool descendants = false;
  std::string text;  ///< in a glob a backslash precedes each character that is not special
  pid_t pid = 0;
  std::shared_ptr<const RE2> regex;
};

/// Cuts `spec` at the commas that are not quoted. False when the last part's quote is not closed;
/// the parts are there then as well.
bool split_items(std::string_view spec, std::vector<std::string_view>& parts);

/// The error's sentence goes after "item 3 ('=a/b') ".
[[nodiscard]] base::Result<ParsedItem> parse_item(std::string_view source);

/// Checks an item, and compiles its regular expression. Errors as of parse_item().
[[nodiscard]] base::Result<ParsedItem> compiled(ParsedItem item);

}  // namespace divert
