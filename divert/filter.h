// The filter language: which programs? mitmproxy's intercept spec with extensions (shared design:
// architecture.md).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/error.h"
#include "procmap/process.h"

namespace divert {

/// A compiled filter. Immutable, cheap to copy (shared), usable from any thread.
///
/// Items, comma-separated, trimmed before and after an optional `!`:
///   123            pid                      firefox        case-sensitive substring of the executable's full
///   path =curl          exact base name          /usr/bin/      prefix of the path /opt/*/bin/x   glob over
///   the path       ~regex         RE2, searched in the path item+          the process and its descendants
///   user:NAME|UID  group:NAME|GID  cgroup:PREFIX unknown        owner not found          "a,b" double quotes
///   around text that holds commas
/// Evaluated left to right: the first item's sign sets the default (an exclude first means "everything but");
/// an include ORs, an exclude ANDs NOT. The empty filter is everything.
class Filter {
 public:
  Filter();  ///< everything

  /// Errors name the item, its place and what was expected.
  [[nodiscard]] static base::Result<Filter> parse(std::string_view spec);

  /// `process` null: the owner is unknown, which only `unknown` (and excludes of other things) match.
  [[nodiscard]] bool matches(const procmap::ProcessFacts* process) const;

  [[nodiscard]] bool matches_everything() const;
  [[nodiscard]] const std::string& text() const;  ///< as it was typed

  /// For the broker, which never parses what a user typed: the items as plain data.
  [[nodiscard]] nlohmann::json to_json() const;
  [[nodiscard]] static base::Result<Filter> from_json(const nlohmann::json& items);

 private:
  struct Items;
  std::shared_ptr<const Items> items_;
};

}  // namespace divert
