// What pf needs beside loader.h: addresses to listen on before there are rules, and a proof that they work.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "pfctl/loader.h"
#include "pfctl/pf_plan.h"

namespace pfctl {

/// pf made ready: its module loaded, addresses for the listeners on lo0. Everything is undone when it is
/// destroyed, unless load_rules() has taken it over.
class PreparedPf {
 public:
  /// Needs root. What a killed osproxy left is put right first. `preferred`: unspecified addresses are not
  /// wanted. Errors: another osproxy has rules in pf (names its pid); what pfctl, ifconfig or kldload say.
  [[nodiscard]] static base::Result<PreparedPf> prepare(const Loopback& preferred);

  /// For the listeners, and for Ruleset::alias_v4 and alias_v6. May differ from what was preferred.
  [[nodiscard]] const Loopback& loopback() const { return loopback_; }

  /// What was put right of an earlier run.
  [[nodiscard]] const std::vector<std::string>& cleaned() const { return cleaned_; }

 private:
  friend struct LoadedRules::Hold;
  friend base::Result<LoadedRules> load_rules(const Ruleset&, PreparedPf, const Probe&,
                                              std::vector<std::string>&);
  PreparedPf(PfSession session, Loopback loopback, std::vector<std::string> cleaned)
      : session_(std::move(session)), loopback_(std::move(loopback)), cleaned_(std::move(cleaned)) {}

  PfSession session_;
  Loopback loopback_;
  std::vector<std::string> cleaned_;
};

/// load_rules() of loader.h with addresses that are there already. `probe` (empty: none) makes a connection
/// that has to arrive at our listener: macOS, where pf may have rules and not evaluate them. `notes`: what
/// the user should know of what was changed, a line each.
[[nodiscard]] base::Result<LoadedRules> load_rules(const Ruleset& ruleset, PreparedPf prepared,
                                                   const Probe& probe, std::vector<std::string>& notes);

/// remove_stale_rules(), telling what was put right, a line each. Empty: there was nothing, or its owner
/// lives.
[[nodiscard]] base::Result<std::vector<std::string>> undo_stale_changes();

}  // namespace pfctl
