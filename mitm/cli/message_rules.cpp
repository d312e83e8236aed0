#include "mitm/cli/message_rules.h"

#include <filesystem>

#include "mitm/control/spec.h"

namespace mitm::cli {
namespace {

using base::Result;
using nlohmann::json;

const control::Places kNoFiles{.looks_at_files = false};

std::vector<std::string> strings_of(const json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  return value.get<std::vector<std::string>>();
}

/// Each string of `value` through `add`, whose rules nobody wants.
template <class Add>
Result<> check_each(const json& value, const Add& add) {
  std::vector<control::Rule> rules;
  for (const std::string& spec : strings_of(value)) {
    if (auto added = add(spec, rules); !added) return added;
  }
  return {};
}

}  // namespace

Result<> check_modify_headers(const json& value) {
  std::vector<control::Rule> rules;
  return control::add_modify_headers(strings_of(value), kNoFiles, rules);
}

Result<> check_modify_body(const json& value) {
  return check_each(value, [](const std::string& spec, std::vector<control::Rule>& rules) {
    return control::add_modify_body(spec, kNoFiles, rules);
  });
}

Result<> check_map_local(const json& value) {
  return check_each(value, [](const std::string& spec, std::vector<control::Rule>& rules) {
    return control::add_map_local(spec, kNoFiles, rules);
  });
}

Result<> check_block_list(const json& value) {
  return check_each(value, [](const std::string& spec, std::vector<control::Rule>& rules) {
    return control::add_block_list(spec, rules);
  });
}

control::RuleTexts rule_texts_of(const Settings& settings, const std::string& home) {
  std::error_code ignored;
  return {.rules = settings.message_rules,
          .modify_headers = settings.modify_headers,
          .modify_body = settings.modify_body,
          .map_local = settings.map_local,
          .block_list = settings.block_list,
          .stickycookie = settings.stickycookie,
          .stickyauth = settings.stickyauth,
          .anticache = settings.anticache,
          .anticomp = settings.anticomp,
          .places = {.directory = std::filesystem::current_path(ignored).string(), .home = home}};
}

}  // namespace mitm::cli
