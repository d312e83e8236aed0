// Looks after rules that are loaded: an administrator, or another program, may change what decides
// about them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "pfctl/loader.h"

namespace pfctl {

/// pf: `pfctl -f` and `-F` take our anchor out of the main ruleset, `-d` disables pf, and an
/// address that this machine gets is another's for the rules; a thread looks every three seconds.
/// Linux: a table that a process owns cannot be changed by others.
class RulesWatch {
 public:
  struct Hold;

  /// `rules` must live longer; it may be moved. Errors: no pipe.
  [[nodiscard]] static base::Result<RulesWatch> start(LoadedRules& rules);

  RulesWatch(RulesWatch&&) noexcept;
  RulesWatch& operator=(RulesWatch&&) noexcept;
  ~RulesWatch();

  /// Readable when something has changed; -1: there is nothing to look at.
  [[nodiscard]] int descriptor() const;

  /// What has changed, and what was done about it: a line each, for the user. Puts our rules in
  /// force again where others have only replaced them; where pf was disabled, or cannot divert any
  /// more, it only says so, until that has changed again. Blocks as load_rules() does.
  [[nodiscard]] std::vector<std::string> look();

 private:
  explicit RulesWatch(std::unique_ptr<Hold> hold);

  std::unique_ptr<Hold> hold_;
};

}  // namespace pfctl
