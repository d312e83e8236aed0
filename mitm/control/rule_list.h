// All that a user has said of rules, made into the rules that are in force.
#pragma once

#include <string>
#include <vector>

#include "mitm/control/rule_reader.h"

namespace mitm::control {

/// The names are those of options. A rule is valid JSON that read_rule() accepts.
struct RuleTexts {
  std::vector<nlohmann::json> rules{};
  std::vector<std::string> modify_headers{};
  std::vector<std::string> modify_body{};
  std::vector<std::string> map_local{};
  std::vector<std::string> block_list{};
  std::string stickycookie{};  ///< empty: none
  std::string stickyauth{};
  bool anticache = false;
  bool anticomp = false;
  Places places{};

  [[nodiscard]] nlohmann::json to_json() const;
  /// What to_json() has made.
  [[nodiscard]] static base::Result<RuleTexts> from_json(const nlohmann::json& data);
};

/// In the order in which they apply: block-list, anticache, anticomp, map-local; the list of rules;
/// modify-body, modify-headers, stickyauth, stickycookie. Errors begin with the option.
[[nodiscard]] base::Result<std::vector<Rule>> compile(const RuleTexts& texts);

/// What may not be meant as it was written, a line for each rule.
[[nodiscard]] std::vector<std::string> warnings_of(const std::vector<Rule>& rules);
/// The directories beneath which the rules that are enabled read files: those of the files, so that
/// one that is replaced is found, and those of the targets of symbolic links.
[[nodiscard]] std::vector<std::string> directories_read(const std::vector<Rule>& rules);
/// Whether this process may read the files. Errors begin with the rule and its key.
[[nodiscard]] base::Result<> check_files(const std::vector<Rule>& rules);

}  // namespace mitm::control
