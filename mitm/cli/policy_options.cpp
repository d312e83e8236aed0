// Each condition of a rule has a function that reads it.
#include "mitm/cli/policy_options.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/host_pattern.h"
#include "mitm/cli/object_list.h"
#include "mitm/cli/values.h"
#include "mitm/proxy/url.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

constexpr std::size_t kMaxRules = 1000;

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

divert::Rule read_rule(const json& data, ObjectErrors& wrong) {
  divert::Rule rule;
  std::vector<std::string_view> keys{"action"};
  for (const auto& known : kConditions) keys.emplace_back(known.key);
  wrong.add_unknown_keys(data, keys);
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

}  // namespace

Result<std::vector<divert::Rule>> parse_rules(const json& list) {
  if (list.size() > kMaxRules)
    return failure("expected at most {} rules, found {}", kMaxRules, list.size());
  auto rules = read_list<divert::Rule>(list, read_rule);
  for (std::size_t i = 0; rules && i < rules->size(); ++i)
    (*rules)[i].name = fmt::format("rules[{}]", i);
  return rules;
}

json render_rules(const std::vector<divert::Rule>& rules) {
  json list = json::array();
  for (const divert::Rule& rule : rules) {
    json data{{"action", std::string(divert::to_string(rule.action))}};
    if (rule.process) data["process"] = rule.process->text();
    if (!rule.hosts.empty()) data["host"] = rule.hosts;
    if (!rule.ports.empty()) data["port"] = render_ports(rule.ports);
    if (!rule.networks.empty()) data["network"] = render_networks(rule.networks);
    if (rule.user) data["user"] = *rule.user;
    if (rule.upstream) data["upstream"] = *rule.upstream;
    list.push_back(std::move(data));
  }
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
