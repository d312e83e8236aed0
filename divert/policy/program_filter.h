// The filter language: which programs? mitmproxy's intercept spec with extensions (shared design:
// architecture.md; README.md in this folder is its manual).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/error.h"
#include "procmap/attribution.h"

namespace divert {

/// One item of a filter, for a check of whether it can match anything.
struct FilterItem {
  enum class Names : std::uint8_t { program, process, user, group, cgroup, unknown };
  Names names = Names::program;
  bool exclude = false;
  bool is_pattern = false;  ///< a glob or a regular expression
  std::string text;         ///< without `!`, `=`, `+` and `user:`
};

/// A compiled filter. Immutable, cheap to copy (shared), usable from any thread.
///
/// Items, comma-separated, trimmed before and after an optional `!`. A program has a path, and may
/// have other names (procmap::names_in_arguments: argv[0], the script of an interpreter), which
/// serve as well:
///   123             pid
///   firefox         case-sensitive substring of the executable's full path, or of another name
///   =curl           exact base name
///   /usr/bin/       prefix of the path
///   /opt/*/bin/x    glob over the path (`*` any text, `?` one character); without a slash in it,
///   over the
///                   base name as well
///   ~regex          RE2, searched in the path
///   user:NAME|UID   group:NAME|GID   cgroup:PREFIX   unknown (owner not found)
///   item+           the processes that the item names and their descendants
///   "a,b"           in double quotes nothing is special; `""` in them is one double quote. A text
///   wholly in
///                   quotes is a substring
/// Evaluated left to right: the first item's sign sets the default (an exclude first means
/// "everything but"); an include ORs, an exclude ANDs NOT. The empty filter is everything.
class ProgramFilter {
 public:
  static constexpr std::size_t kMaxText = 64 << 10;  ///< bytes
  static constexpr std::size_t kMaxItems = 1000;

  ProgramFilter();  ///< everything

  /// Errors name the item, its place (from 1) and what was expected.
  [[nodiscard]] static base::Result<ProgramFilter> parse(std::string_view spec);

  /// `process` null: the owner is unknown. The empty filter and `unknown` match it; "everything but
  /// curl" does not: a negation without a name selects nothing.
  [[nodiscard]] bool matches(const procmap::ProcessFacts* process) const;
  /// The same, where `user:` and `cgroup:` ask the socket when its process is unknown. What neither
  /// can answer includes nothing, and excludes.
  [[nodiscard]] bool matches(const procmap::Owner& owner) const;

  [[nodiscard]] std::vector<FilterItem> items() const;
  /// Whether item `index`, whatever its sign, means this process itself.
  [[nodiscard]] bool item_matches(std::size_t index, const procmap::ProcessFacts& process) const;

  [[nodiscard]] bool matches_everything() const;
  [[nodiscard]] const std::string& text() const;   ///< as it was typed
  [[nodiscard]] const std::string& label() const;  ///< text() for a message: printable and not long
  [[nodiscard]] std::size_t size() const;          ///< items

  /// For the broker, which never parses what a user typed: the items as plain data. Texts are
  /// bytes, not necessarily UTF-8: write it as CBOR, not as JSON text.
  [[nodiscard]] nlohmann::json to_json() const;
  /// Refuses whatever to_json() cannot have made. Throws nothing.
  [[nodiscard]] static base::Result<ProgramFilter> from_json(const nlohmann::json& data);

 private:
  struct Items;
  explicit ProgramFilter(std::shared_ptr<const Items> items);
  std::shared_ptr<const Items> items_;
};

}  // namespace divert
