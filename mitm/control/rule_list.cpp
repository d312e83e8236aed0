#include "mitm/control/rule_list.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/text.h"
#include "mitm/control/spec.h"
#include "mitm/control/value_reader.h"

namespace mitm::control {
namespace {

using base::Result;
using nlohmann::json;

/// "rule 'NAME'", or the option that it stands for.
std::string shown_name(const Rule& rule) {
  return rule.name.starts_with("--") ? rule.name
                                     : fmt::format("rule '{}'", base::printable(rule.name));
}

/// A file or directory that an action reads.
struct Read {
  const Rule& rule;
  const char* key;
  const std::string& path;
  bool is_mapped = false;  ///< it may be a directory
};

/// Calls `use(Read)` for each of the rules that are enabled.
template <class Use>
void each_path(const std::vector<Rule>& rules, const Use& use) {
  for (const Rule& rule : rules) {
    if (!rule.enabled) continue;
    const auto text = [&](const char* key, const Text& one) {
      if (!one.file.empty()) use(Read{rule, key, one.file});
    };
    for (const Step& step : rule.steps) {
      if (const auto* set = std::get_if<SetField>(&step.action))
        for (const Text& value : set->values) text("set_header", value);
      if (const auto* add = std::get_if<AddField>(&step.action)) text("add_header", add->value);
      if (const auto* body = std::get_if<SetBody>(&step.action)) text("body", body->body);
      if (const auto* replace = std::get_if<ReplaceInBody>(&step.action))
        text("replace_body", replace->with);
      if (const auto* respond = std::get_if<Respond>(&step.action))
        text("respond.file", respond->body);
      if (const auto* map = std::get_if<MapLocal>(&step.action))
        use(Read{rule, "respond.directory", map->path, true});
    }
  }
}

/// Where what lies at `path`, or takes its place, is found.
std::string directory_of(const Read& read, const std::string& path) {
  if (read.is_mapped && !is_regular_file(path)) return path;
  const auto slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// The directory of the file and, where that is a symbolic link, that of its target.
std::vector<std::string> directories_of(const Read& read) {
  std::vector<std::string> directories{directory_of(read, read.path)};
  std::error_code error;
  const auto target = std::filesystem::canonical(read.path, error).string();
  if (!error && target != read.path) directories.push_back(directory_of(read, target));
  return directories;
}

/// The worker may read all below the directories of rules.
Result<> check(const Read& read) {
  const auto found = read.is_mapped ? check_mapped(read.path) : check_file(read.path);
  if (!found) return found;
  const auto directories = directories_of(read);
  if (std::ranges::find(directories, "/") != directories.end())
    return base::failure(
        "{} is in /, and the worker would be allowed to read all that is there: "
        "a directory of its own is needed",
        read.path);
  return {};
}

Result<> add_rules(const RuleTexts& texts, std::vector<Rule>& rules) {
  std::string problem;
  for (const json& data : texts.rules) {
    const auto complain = [&](std::string_view key, const std::string& why) {
      if (problem.empty()) problem = fmt::format("{}: {}", key, why);
    };
    rules.push_back(read_rule(data, "rule", texts.places, complain));
    if (!problem.empty()) return base::failure("rule '{}': {}", rules.back().name, problem);
  }
  return {};
}

/// Each value of an option through `add`.
template <class Add>
Result<> add_each(std::string_view option, const std::vector<std::string>& values, const Add& add) {
  for (const std::string& value : values) {
    if (const auto added = add(value); !added)
      return base::failure("--{}: {}", option, added.error().text);
  }
  return {};
}

Result<> with_option(std::string_view option, Result<> added) {
  if (!added) return base::failure("--{}: {}", option, added.error().text);
  return added;
}

bool is_list_of_strings(const json& value) {
  return value.is_array() &&
         std::ranges::all_of(value, [](const json& one) { return one.is_string(); });
}

}  // namespace

json RuleTexts::to_json() const {
  return {{"rules", rules},
          {"modify_headers", modify_headers},
          {"modify_body", modify_body},
          {"map_local", map_local},
          {"block_list", block_list},
          {"stickycookie", stickycookie},
          {"stickyauth", stickyauth},
          {"anticache", anticache},
          {"anticomp", anticomp},
          {"directory", places.directory},
          {"home", places.home}};
}

Result<RuleTexts> RuleTexts::from_json(const json& data) {
  const auto wrong = [] { return base::failure("rules that osproxy did not write"); };
  RuleTexts texts;
  if (!data.is_object() || !data.contains("rules") || !data["rules"].is_array()) return wrong();
  for (const json& rule : data["rules"]) {
    if (!rule.is_object()) return wrong();
    texts.rules.push_back(rule);
  }
  const std::pair<const char*, std::vector<std::string>*> lists[] = {
      {"modify_headers", &texts.modify_headers},
      {"modify_body", &texts.modify_body},
      {"map_local", &texts.map_local},
      {"block_list", &texts.block_list}};
  for (const auto& [key, list] : lists) {
    const auto value = data.find(key);
    if (value == data.end() || !is_list_of_strings(*value)) return wrong();
    *list = value->get<std::vector<std::string>>();
  }
  const std::pair<const char*, std::string*> strings[] = {{"stickycookie", &texts.stickycookie},
                                                          {"stickyauth", &texts.stickyauth},
                                                          {"directory", &texts.places.directory},
                                                          {"home", &texts.places.home}};
  for (const auto& [key, text] : strings) {
    const auto value = data.find(key);
    if (value == data.end() || !value->is_string()) return wrong();
    *text = value->get<std::string>();
  }
  const std::pair<const char*, bool*> flags[] = {{"anticache", &texts.anticache},
                                                 {"anticomp", &texts.anticomp}};
  for (const auto& [key, flag] : flags) {
    const auto value = data.find(key);
    if (value == data.end() || !value->is_boolean()) return wrong();
    *flag = value->get<bool>();
  }
  return texts;
}

Result<std::vector<Rule>> compile(const RuleTexts& texts) {
  std::vector<Rule> rules;
  const Places& places = texts.places;
  const auto block = [&](const std::string& spec) { return add_block_list(spec, rules); };
  const auto map = [&](const std::string& spec) { return add_map_local(spec, places, rules); };
  const auto body = [&](const std::string& spec) { return add_modify_body(spec, places, rules); };
  if (auto added = add_each("block-list", texts.block_list, block); !added) return added.error();
  if (texts.anticache) add_anticache(rules);
  if (texts.anticomp) add_anticomp(rules);
  if (auto added = add_each("map-local", texts.map_local, map); !added) return added.error();
  if (auto added = add_rules(texts, rules); !added) return added.error();
  if (auto added = add_each("modify-body", texts.modify_body, body); !added) return added.error();
  if (auto added =
          with_option("modify-headers", add_modify_headers(texts.modify_headers, places, rules));
      !added)
    return added.error();
  if (!texts.stickyauth.empty()) {
    if (auto added = with_option("stickyauth", add_sticky_credentials(texts.stickyauth, rules));
        !added)
      return added.error();
  }
  if (!texts.stickycookie.empty()) {
    if (auto added = with_option("stickycookie", add_sticky_cookies(texts.stickycookie, rules));
        !added)
      return added.error();
  }
  return rules;
}

std::vector<std::string> warnings_of(const std::vector<Rule>& rules) {
  std::vector<std::string> lines;
  for (const Rule& rule : rules) {
    if (!rule.enabled) continue;
    for (const query::Warning& warning : rule.match.warnings()) {
      std::string line = fmt::format("{}: {}", shown_name(rule), warning.text);
      if (std::ranges::find(lines, line) == lines.end()) lines.push_back(std::move(line));
    }
  }
  return lines;
}

std::vector<std::string> directories_read(const std::vector<Rule>& rules) {
  std::vector<std::string> directories;
  each_path(rules, [&](const Read& read) {
    for (std::string& directory : directories_of(read))
      if (std::ranges::find(directories, directory) == directories.end())
        directories.push_back(std::move(directory));
  });
  return directories;
}

Result<> check_files(const std::vector<Rule>& rules) {
  Result<> good;
  each_path(rules, [&](const Read& read) {
    if (!good) return;
    const auto found = check(read);
    if (found) return;
    const bool is_option = read.rule.name.starts_with("--");
    good = base::failure("{}: {}{}", shown_name(read.rule),
                         is_option ? "" : fmt::format("{}: ", read.key), found.error().text);
  });
  return good;
}

}  // namespace mitm::control
