// Own processes, then the rules in their order, then the filter. The reason for each verdict goes with it.
#include "divert/policy.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace divert {
namespace {

using base::failure;
using base::Result;

constexpr std::string_view kActionNames[] = {"pass", "intercept", "block"};
constexpr std::size_t kMaxConditions = 1000;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::string_view without_dot(std::string_view name) {
  return name.ends_with('.') ? name.substr(0, name.size() - 1) : name;
}

bool is_own(const procmap::ProcessFacts* process, std::span<const pid_t> own_pids) {
  return process && std::ranges::find(own_pids, process->id.pid) != own_pids.end();
}

bool captured(const Capture& capture, const procmap::Owner& owner) {
  if (capture.cgroup_id != 0 && owner.socket && owner.socket->cgroup_id == capture.cgroup_id) return true;
  if (!owner.process) return false;
  if (owner.process->id == capture.root) return true;
  return std::ranges::any_of(owner.process->ancestors,
                             [&](const procmap::Ancestor& parent) { return parent.id == capture.root; });
}

/// All conditions but `hosts`. `selected`: whether the filter selects the process.
bool holds(const Rule& rule, const Subject& subject, bool selected) {
  const auto* process = subject.owner.process.get();
  if (rule.process ? !rule.process->matches(process) : !selected) return false;
  if (rule.user && !(process && (process->user == *rule.user || std::to_string(process->uid) == *rule.user)))
    return false;
  const auto port_in = [&](const base::PortRange& range) {
    return range.contains(subject.destination.port());
  };
  if (!rule.ports.empty() && std::ranges::none_of(rule.ports, port_in)) return false;
  const auto address_in = [&](const base::Network& network) {
    return network.contains(subject.destination.address());
  };
  return rule.networks.empty() || std::ranges::any_of(rule.networks, address_in);
}

std::string rule_reason(std::size_t index) {
  return fmt::format("rule {}", index + 1);
}

template <class Items>
nlohmann::json texts(const Items& items) {
  auto list = nlohmann::json::array();
  for (const auto& item : items) list.push_back(base::to_string(item));
  return list;
}

/// The strings of data[key], which must be a list of them; empty when there is no such key.
std::optional<std::vector<std::string>> string_list(const nlohmann::json& data, const char* key) {
  std::vector<std::string> list;
  const auto found = data.find(key);
  if (found == data.end()) return list;
  if (!found->is_array() || found->size() > kMaxConditions) return std::nullopt;
  for (const auto& item : *found) {
    if (!item.is_string()) return std::nullopt;
    list.push_back(item);
  }
  return list;
}

template <class Item, class Parse>
bool parse_list(const nlohmann::json& data, const char* key, Parse parse, std::vector<Item>& out) {
  const auto list = string_list(data, key);
  if (!list) return false;
  for (const auto& text : *list) {
    auto item = parse(text);
    if (!item) return false;
    out.push_back(std::move(*item));
  }
  return true;
}

nlohmann::json to_json(const Rule& rule) {
  nlohmann::json data{{"action", kActionNames[static_cast<std::size_t>(rule.action)]},
                      {"hosts", rule.hosts},
                      {"ports", texts(rule.ports)},
                      {"networks", texts(rule.networks)}};
  if (rule.process) data["process"] = rule.process->to_json();
  if (rule.user) data["user"] = *rule.user;
  return data;
}

Result<Rule> rule_from_json(const nlohmann::json& data) {
  const auto bad = failure("a rule that osproxy did not write");
  if (!data.is_object() || !data.contains("action") || !data["action"].is_string()) return bad;
  const std::string action_name = data["action"];
  const auto action = std::ranges::find(kActionNames, std::string_view(action_name));
  if (action == std::end(kActionNames)) return bad;
  Rule rule;
  rule.action = static_cast<Action>(action - std::begin(kActionNames));
  auto hosts = string_list(data, "hosts");
  if (!hosts || !parse_list(data, "ports", base::parse_port_range, rule.ports) ||
      !parse_list(data, "networks", base::parse_network, rule.networks)) {
    return bad;
  }
  rule.hosts = std::move(*hosts);
  if (data.contains("user")) {
    if (!data["user"].is_string()) return bad;
    rule.user = data["user"];
  }
  if (data.contains("process")) {
    auto filter = Filter::from_json(data["process"]);
    if (!filter) return filter.error();
    rule.process = std::move(*filter);
  }
  return rule;
}

}  // namespace

std::string_view to_string(Action action) {
  return kActionNames[static_cast<std::size_t>(action)];
}

Verdict Policy::judge(const Subject& subject, std::span<const pid_t> own_pids) const {
  const auto* process = subject.owner.process.get();
  if (is_own(process, own_pids)) return {Action::pass, "osproxy itself", {}};
  const bool selected = capture ? captured(*capture, subject.owner) : filter.matches(process);
  Verdict verdict;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (!holds(rules[i], subject, selected)) continue;
    if (rules[i].hosts.empty()) {
      verdict.action = rules[i].action;
      verdict.reason = rule_reason(i);
      return verdict;
    }
    verdict.by_host.push_back({static_cast<std::uint16_t>(i), rules[i].action});
  }
  verdict.action = selected ? Action::intercept : Action::pass;
  if (capture) {
    verdict.reason = selected ? "started by exec" : "not started by exec";
  } else if (filter.matches_everything()) {
    verdict.reason = "no filter";
  } else {
    verdict.reason = fmt::format("{}selected by the filter {}", selected ? "" : "not ", filter.text());
  }
  return verdict;
}

Verdict Policy::settle(const Verdict& verdict, std::string_view host) const {
  for (const auto& choice : verdict.by_host) {
    const auto& hosts = rules[choice.rule].hosts;
    if (std::ranges::any_of(hosts, [&](const std::string& pattern) { return host_matches(pattern, host); })) {
      return {choice.action, fmt::format("rule {}, host {}", choice.rule + 1, host), {}};
    }
  }
  return {verdict.action, verdict.reason, {}};
}

nlohmann::json Policy::to_json() const {
  auto list = nlohmann::json::array();
  for (const Rule& rule : rules) list.push_back(divert::to_json(rule));
  return {{"filter", filter.to_json()}, {"rules", std::move(list)}};
}

Result<Policy> Policy::from_json(const nlohmann::json& data) {
  if (!data.is_object() || !data.contains("filter") || !data.contains("rules") || !data["rules"].is_array()) {
    return failure("a policy that osproxy did not write");
  }
  if (data["rules"].size() > kMaxRules) return failure("more than {} rules", kMaxRules);
  auto filter = Filter::from_json(data["filter"]);
  if (!filter) return filter.error();
  Policy policy;
  policy.filter = std::move(*filter);
  for (const auto& entry : data["rules"]) {
    auto rule = rule_from_json(entry);
    if (!rule) return rule.error();
    policy.rules.push_back(std::move(*rule));
  }
  return policy;
}

bool host_matches(std::string_view pattern, std::string_view host) {
  pattern = without_dot(pattern);
  host = without_dot(host);
  if (host.empty()) return false;
  if (!pattern.starts_with("*.")) return same_name(pattern, host);
  const auto suffix = pattern.substr(1);
  return host.size() > suffix.size() && same_name(suffix, host.substr(host.size() - suffix.size()));
}

}  // namespace divert
