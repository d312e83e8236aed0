// Each condition of a rule has a function that reads it.
#include "mitm/cli/policy_options.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/host_pattern.h"
#include "base/suggestion.h"
#include "mitm/cli/object_list.h"
#include "mitm/cli/values.h"
#include "mitm/control/rule_reader.h"
#include "mitm/proxy/url.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

constexpr std::size_t kMaxRules = 1000;
constexpr std::size_t kMaxMessageRules = 10'000;

struct Condition {
  const char* key;
  const char* expected;
  bool numbers;  ///< whether a number will do for a string
  Result<> (*read)(const std::vector<std::string>&, divert::Rule&);
};

/// The words of one condition, which is a string or a list of strings.
Result<std::vector<std::string>> words_of(const Condition& condition, const json& value) {
  const auto is_word = [&](const json& item) {
    return item.is_string() || (condition.numbers && item.is_number_unsigned());
  };
  const json list = value.is_array() ? value : json::array({value});
  if (list.empty() || !std::ranges::all_of(list, is_word))
    return failure("expected {}, found {}", condition.expected, describe_value(value));
  if (list.size() > divert::Policy::kMaxConditions)
    return failure("expected at most {} entries, found {}", divert::Policy::kMaxConditions,
                   list.size());
  std::vector<std::string> words;
  for (const json& item : list)
    words.push_back(item.is_string() ? item.get<std::string>() : item.dump());
  return words;
}

/// Each word through `parse` into `items`.
template <class Item>
Result<> read_each(const std::vector<std::string>& words, Result<Item> (*parse)(std::string_view),
                   std::vector<Item>& items) {
  for (const auto& word : words) {
    auto item = parse(word);
    if (!item) return item.error();
    items.push_back(std::move(*item));
  }
  return {};
}

Result<> read_hosts(const std::vector<std::string>& words, divert::Rule& rule) {
  return read_each(words, base::parse_host_pattern, rule.hosts);
}

Result<> read_ports(const std::vector<std::string>& words, divert::Rule& rule) {
  return read_each(words, base::parse_port_range, rule.ports);
}

Result<> read_networks(const std::vector<std::string>& words, divert::Rule& rule) {
  return read_each(words, base::parse_network, rule.networks);
}

Result<> read_user(const std::vector<std::string>& words, divert::Rule& rule) {
  if (words.size() != 1 || words[0].empty()) return failure("expected one user name or number");
  rule.user = words[0];
  return {};
}

Result<> read_process(const std::vector<std::string>& words, divert::Rule& rule) {
  auto filter = divert::ProgramFilter::parse(fmt::format("{}", fmt::join(words, ",")));
  if (!filter) return filter.error();
  rule.process = std::move(*filter);
  return {};
}

/// An empty one would not say whether the proxy for all is meant, or none.
Result<> read_upstream(const std::vector<std::string>& words, divert::Rule& rule) {
  if (words.size() != 1) return failure("expected the URL of one proxy, or direct");
  const auto proxy = proxy::parse_upstream(words[0].empty() ? "-" : words[0]);
  if (!proxy) return proxy.error();
  if (rule.action != divert::Action::intercept)
    return failure("goes with the action intercept: what passes goes straight to its server");
  rule.upstream = words[0];
  return {};
}

constexpr const char* kStrings = "a string or a list of strings";
constexpr Condition kConditions[] = {
    {"process", kStrings, false, read_process},
    {"host", kStrings, false, read_hosts},
    {"port", "a port, a range of ports or a list of them", true, read_ports},
    {"network", kStrings, false, read_networks},
    {"user", "one user name or number", true, read_user},
    {"upstream", "the URL of one proxy, or direct", false, read_upstream}};

Result<divert::Action> read_action(const json& rule) {
  const auto found = rule.find("action");
  if (found != rule.end() && found->is_string()) {
    for (const auto action :
         {divert::Action::pass, divert::Action::intercept, divert::Action::block}) {
      if (*found == std::string(divert::to_string(action))) return action;
    }
  }
  return failure("expected intercept, pass or block, found {}",
                 found == rule.end() ? "none" : describe_value(*found));
}

std::vector<std::string_view> connection_keys() {
  std::vector<std::string_view> keys{"action"};
  for (const auto& known : kConditions) keys.emplace_back(known.key);
  return keys;
}

/// Only what can be said without a rule's other keys.
void add_unknown_keys(const json& data, ObjectErrors& wrong) {
  auto keys = connection_keys();
  const bool is_nearer = std::ranges::any_of(data.items(), [&](const auto& item) {
    return std::ranges::find(keys, item.key()) == keys.end() &&
           base::nearest_word(item.key(), keys).empty() &&
           !base::nearest_word(item.key(), control::rule_keys()).empty();
  });
  if (is_nearer) {
    for (const auto key : control::rule_keys()) keys.push_back(key);
  }
  wrong.add_unknown_keys(data, keys);
}

divert::Rule read_rule(const json& data, ObjectErrors& wrong) {
  divert::Rule rule;
  add_unknown_keys(data, wrong);
  const auto action = read_action(data);
  if (!action) wrong.add("action", action.error().text);
  if (action) rule.action = *action;
  for (const auto& known : kConditions) {
    if (!data.contains(known.key)) continue;
    const auto words = words_of(known, data[known.key]);
    const auto read = words ? known.read(*words, rule) : Result<>{words.error()};
    if (!read) wrong.add(known.key, read.error().text);
  }
  return rule;
}

/// A rule that changes messages, with its name.
json read_message_rule(const json& data, const std::string& name, ObjectErrors& wrong) {
  json named = data;
  for (const auto key : connection_keys()) {
    if (!data.contains(std::string(key))) continue;
    wrong.add(key,
              "it is for rules of connections, and other keys of this rule are for messages: make "
              "two rules");
    named.erase(std::string(key));
  }
  const auto complain = [&](std::string_view key, const std::string& why) { wrong.add(key, why); };
  const auto rule = control::read_rule(named, name, {}, complain);
  named["name"] = rule.name;
  return named;
}

}  // namespace

Result<> parse_rules(const json& list, Settings& settings) {
  std::vector<std::string> lines;
  settings.rules.clear();
  settings.message_rules.clear();
  for (std::size_t i = 0; i < list.size(); ++i) {
    ObjectErrors wrong{i};
    const std::string name = fmt::format("rules[{}]", i);
    if (control::is_message_rule(list[i])) {
      settings.message_rules.push_back(read_message_rule(list[i], name, wrong));
    } else {
      settings.rules.push_back(read_rule(list[i], wrong));
      settings.rules.back().name = name;
    }
    wrong.move_to(lines);
  }
  if (settings.rules.size() > kMaxRules)
    return failure("expected at most {} rules, found {}", kMaxRules, settings.rules.size());
  if (settings.message_rules.size() > kMaxMessageRules)
    return failure("expected at most {} rules for messages, found {}", kMaxMessageRules,
                   settings.message_rules.size());
  if (!lines.empty()) return failure("{}", fmt::join(lines, "\n"));
  return {};
}

json render_rules(const Settings& settings) {
  json list = json::array();
  for (const divert::Rule& rule : settings.rules) {
    json data{{"action", std::string(divert::to_string(rule.action))}};
    if (rule.process) data["process"] = rule.process->text();
    if (!rule.hosts.empty()) data["host"] = rule.hosts;
    if (!rule.ports.empty()) data["port"] = render_ports(rule.ports);
    if (!rule.networks.empty()) data["network"] = render_networks(rule.networks);
    if (rule.user) data["user"] = *rule.user;
    if (rule.upstream) data["upstream"] = *rule.upstream;
    list.push_back(std::move(data));
  }
  for (const json& rule : settings.message_rules) list.push_back(rule);
  return list;
}

divert::Policy policy_of(const Settings& settings, std::string_view command) {
  divert::Policy policy;
  if (command != "exec") policy.filter = settings.filter;
  const auto add = [&](std::string name, const std::vector<std::string>& hosts,
                       divert::Action action) {
    if (hosts.empty()) return;
    divert::Rule& rule = policy.rules.emplace_back();
    rule.name = std::move(name);
    rule.hosts = hosts;
    rule.action = action;
  };
  add("--block", settings.block, divert::Action::block);
  add("--pass", settings.pass, divert::Action::pass);
  add("--only", settings.only, divert::Action::intercept);
  policy.rules.insert(policy.rules.end(), settings.rules.begin(), settings.rules.end());
  if (!settings.only.empty()) {
    divert::Rule& rest = policy.rules.emplace_back();
    rest.name = "not a host of --only";
    rest.action = divert::Action::pass;
  }
  if (settings.upstream_proxy != "direct") policy.upstream = settings.upstream_proxy;
  return policy;
}

}  // namespace mitm::cli
