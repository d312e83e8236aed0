// What happens to a connection: our own processes first, then the rules in their order, then the
// filter. The way to and from plain data is here too, because the broker takes its policy from an
// unprivileged reader.
#include "divert/policy/policy.h"

#include <algorithm>
#include <array>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/host_pattern.h"
#include "base/text.h"

namespace divert {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

constexpr std::array<std::string_view, 3> kActionNames{"pass", "intercept", "block"};
constexpr std::size_t kMaxName = 253;  // RFC 1035, in text form
constexpr std::size_t kMaxUser = 256;
constexpr std::size_t kMaxRuleName = 64;
constexpr std::size_t kMaxUpstream = 1024;

bool is_own(const procmap::ProcessFacts* process, std::span<const pid_t> own_pids) {
  return process && std::ranges::find(own_pids, process->id.pid) != own_pids.end();
}

bool captured(const ExecScope& capture, const procmap::Owner& owner) {
  if (capture.cgroup_id != 0 && owner.socket && owner.socket->cgroup_id == capture.cgroup_id)
    return true;
  if (!owner.process) return false;
  if (capture.gid != 0 && owner.process->gid == capture.gid) return true;
  const auto& ancestors = owner.process->ancestors;
  return owner.process->id == capture.root ||
         std::ranges::find(ancestors, capture.root, &procmap::Ancestor::id) != ancestors.end();
}

/// The uid of a socket is known even when its process is not.
bool is_user(const procmap::Owner& owner, const std::string& user) {
  if (owner.process)
    return owner.process->user == user || std::to_string(owner.process->uid) == user;
  if (!owner.socket || !owner.socket->uid_known) return false;
  return owner.socket->user == user || std::to_string(owner.socket->uid) == user;
}

/// All conditions but the host. `selected`: by the filter, or by the capture in its place.
bool holds(const Rule& rule, const Subject& subject, bool selected) {
  if (!(rule.process ? rule.process->matches(subject.owner) : selected)) return false;
  if (rule.user && !is_user(subject.owner, *rule.user)) return false;
  const auto port_in = [&](const base::PortRange& range) {
    return range.contains(subject.destination.port());
  };
  if (!rule.ports.empty() && std::ranges::none_of(rule.ports, port_in)) return false;
  const auto within = [&](const base::Network& network) {
    return network.contains(subject.destination.address());
  };
  return rule.networks.empty() || std::ranges::any_of(rule.networks, within);
}

std::string reason_of(const Policy& policy, bool selected, const procmap::Owner& owner) {
  const std::string_view late = owner.in_time ? "" : "owner not found in time, ";
  if (policy.capture)
    return fmt::format("{}{}", late, selected ? "started by exec" : "not started by exec");
  if (policy.filter.matches_everything()) return fmt::format("{}no filter: everything", late);
  const std::string_view unknown =
      owner.in_time && !owner.process && !selected ? "owner unknown, " : late;
  return fmt::format("{}{}filter {}", unknown, selected ? "" : "not selected by the ",
                     policy.filter.label());
}

template <class Items>
json texts(const Items& items) {
  auto list = json::array();
  for (const auto& item : items) list.push_back(base::to_string(item));
  return list;
}

std::string name_of(const std::vector<Rule>& rules, std::size_t place) {
  return rules[place].name.empty() ? fmt::format("rules[{}]", place) : rules[place].name;
}

json rule_to_json(const Rule& rule) {
  json data{{"action", kActionNames[static_cast<std::size_t>(rule.action)]},
            {"hosts", rule.hosts},
            {"ports", texts(rule.ports)},
            {"networks", texts(rule.networks)}};
  if (!rule.name.empty()) data["name"] = rule.name;
  if (rule.process) data["process"] = rule.process->to_json();
  if (rule.user) data["user"] = *rule.user;
  if (rule.upstream) data["upstream"] = *rule.upstream;
  return data;
}

json capture_to_json(const ExecScope& capture) {
  return {{"cgroup_id", capture.cgroup_id},
          {"pid", capture.root.pid},
          {"start_ticks", capture.root.start_ticks},
          {"gid", capture.gid}};
}

/// Whether `data` is an object of `required` keys and, beyond them, none but `optional` ones.
bool has_keys(const json& data, std::initializer_list<const char*> required,
              std::initializer_list<const char*> optional) {
  if (!data.is_object()) return false;
  const auto present = [&](const char* key) { return data.contains(key); };
  const auto extra = std::ranges::count_if(optional, present);
  return std::ranges::all_of(required, present) &&
         data.size() == required.size() + static_cast<std::size_t>(extra);
}

/// The texts of the list `data`, each through `parse` (Result of Item).
template <class Item, class Parse>
Result<std::vector<Item>> parse_each(const json& data, std::string_view what, Parse parse) {
  if (!data.is_array()) return failure("{} is not a list", what);
  if (data.size() > Policy::kMaxConditions) {
    return failure("{} has {} entries; expected at most {}", what, data.size(),
                   Policy::kMaxConditions);
  }
  std::vector<Item> items;
  for (const json& entry : data) {
    const auto* text = entry.get_ptr<const std::string*>();
    if (!text) return failure("{} holds something that is not text", what);
    auto item = parse(*text);
    if (!item) return item.error();
    items.push_back(std::move(*item));
  }
  return items;
}

Result<> read_lists(const json& data, Rule& rule) {
  auto hosts = parse_each<std::string>(data["hosts"], "hosts", base::parse_host_pattern);
  if (!hosts) return hosts.error();
  auto ports = parse_each<base::PortRange>(data["ports"], "ports", base::parse_port_range);
  if (!ports) return ports.error();
  auto networks = parse_each<base::Network>(data["networks"], "networks", base::parse_network);
  if (!networks) return networks.error();
  rule.hosts = std::move(*hosts);
  rule.ports = std::move(*ports);
  rule.networks = std::move(*networks);
  return {};
}

Result<Action> action_from_json(const json& data) {
  const auto* name = data.get_ptr<const std::string*>();
  const auto* known =
      name ? std::ranges::find(kActionNames, std::string_view(*name)) : kActionNames.end();
  if (known == kActionNames.end()) return failure("action: expected intercept, pass or block");
  return static_cast<Action>(known - kActionNames.begin());
}

Result<Rule> rule_from_json(const json& data) {
  if (!has_keys(data, {"action", "hosts", "ports", "networks"},
                {"name", "process", "user", "upstream"})) {
    return failure("is not an object of a rule's keys");
  }
  Rule rule;
  const auto action = action_from_json(data["action"]);
  if (!action) return action.error();
  rule.action = *action;
  if (const auto good = read_lists(data, rule); !good) return good.error();
  if (const auto name = data.find("name"); name != data.end()) {
    const auto* text = name->get_ptr<const std::string*>();
    if (!text || text->empty() || text->size() > kMaxRuleName)
      return failure("name is no short text");
    rule.name = *text;
  }
  if (const auto user = data.find("user"); user != data.end()) {
    const auto* name = user->get_ptr<const std::string*>();
    if (!name || name->empty() || name->size() > kMaxUser)
      return failure("user is not a login name or a uid");
    rule.user = *name;
  }
  if (const auto upstream = data.find("upstream"); upstream != data.end()) {
    const auto* url = upstream->get_ptr<const std::string*>();
    if (!url || url->size() > kMaxUpstream)
      return failure("upstream is no text of at most 1024 bytes");
    rule.upstream = *url;
  }
  if (const auto process = data.find("process"); process != data.end()) {
    auto filter = ProgramFilter::from_json(*process);
    if (!filter) return filter.error();
    rule.process = std::move(*filter);
  }
  return rule;
}

/// A whole number from 0 to `limit`.
std::optional<std::uint64_t> number_from_json(const json& data, std::uint64_t limit) {
  if (!data.is_number_integer() || (!data.is_number_unsigned() && data.get<std::int64_t>() < 0))
    return std::nullopt;
  const auto number = data.get<std::uint64_t>();
  return number <= limit ? std::optional(number) : std::nullopt;
}

Result<ExecScope> capture_from_json(const json& data) {
  if (!has_keys(data, {"cgroup_id", "pid", "start_ticks", "gid"}, {}))
    return failure("capture: not an object of its keys");
  constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
  const auto cgroup = number_from_json(data["cgroup_id"], kMax);
  const auto pid = number_from_json(data["pid"], std::numeric_limits<pid_t>::max());
  const auto start = number_from_json(data["start_ticks"], kMax);
  const auto gid = number_from_json(data["gid"], std::numeric_limits<std::uint32_t>::max());
  if (!cgroup || !pid || !start || !gid)
    return failure("capture: cgroup_id, pid, start_ticks or gid is not a number of its kind");
  return ExecScope{*cgroup, {static_cast<pid_t>(*pid), *start}, static_cast<std::uint32_t>(*gid)};
}

std::size_t filter_items(const Policy& policy) {
  std::size_t count = policy.filter.size();
  for (const Rule& rule : policy.rules) count += rule.process ? rule.process->size() : 0;
  return count;
}

Result<> read_rules(const json& data, Policy& policy) {
  if (!data.is_array()) return failure("policy: rules is not a list");
  if (data.size() > Policy::kMaxRules) {
    return failure("policy: {} rules; expected at most {}", data.size(), Policy::kMaxRules);
  }
  for (const json& entry : data) {
    auto rule = rule_from_json(entry);
    if (!rule) return failure("rules[{}]: {}", policy.rules.size(), rule.error().text);
    policy.rules.push_back(std::move(*rule));
    if (filter_items(policy) > Policy::kMaxFilterItems) {
      return failure("policy: the filters of {} rules have more than {} items together",
                     policy.rules.size(), Policy::kMaxFilterItems);
    }
  }
  return {};
}

std::string address_text(const base::Endpoint& endpoint) {
  return base::unmapped(endpoint.address()).to_string();
}

/// Whether one of the rule's hosts is this very address. It decides then, whatever the connection
/// calls its server.
bool names_address(const Rule& rule, const std::string& address) {
  return std::ranges::any_of(
      rule.hosts, [&](const std::string& pattern) { return base::host_matches(pattern, address); });
}

}  // namespace

std::string_view to_string(Action action) {
  return kActionNames[static_cast<std::size_t>(action)];
}

Verdict Policy::judge(const Subject& subject, std::span<const pid_t> own_pids) const {
  const auto* process = subject.owner.process.get();
  if (is_own(process, own_pids)) return {Action::pass, "osproxy itself", {}};
  const bool selected = capture ? captured(*capture, subject.owner) : filter.matches(subject.owner);
  Verdict verdict;
  std::string address;  // made once, for the first rule with hosts
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (!holds(rules[i], subject, selected)) continue;
    const bool any_host = rules[i].hosts.empty();
    if (!any_host && address.empty()) address = address_text(subject.destination);
    const bool by_address = !any_host && names_address(rules[i], address);
    if (any_host || by_address) {
      verdict.action = rules[i].action;
      verdict.reason = name_of(rules, i);
      if (by_address) verdict.reason += ", host " + address;
      verdict.rule = static_cast<std::uint16_t>(i);
      return verdict;
    }
    verdict.by_host.push_back({static_cast<std::uint16_t>(i), rules[i].action});
  }
  verdict.action = selected ? Action::intercept : Action::pass;
  verdict.reason = reason_of(*this, selected, subject.owner);
  return verdict;
}

Verdict Policy::settle(const Verdict& verdict, std::string_view host) const {
  for (const auto& [rule, action] : verdict.by_host) {
    if (rule >= rules.size()) continue;
    const auto matches = [host](const std::string& pattern) {
      return base::host_matches(pattern, host);
    };
    if (std::ranges::any_of(rules[rule].hosts, matches)) {
      const auto name = base::printable(host.substr(0, kMaxName));
      return {action, fmt::format("{}, host {}", name_of(rules, rule), name), {}, rule};
    }
  }
  return {verdict.action, verdict.reason, {}, verdict.rule};
}

bool Policy::goes_straight(const Verdict& verdict) const {
  const auto has_proxy = [this](std::uint16_t rule, Action action) {
    if (action != Action::intercept) return false;
    const auto& url =
        rule < rules.size() && rules[rule].upstream ? *rules[rule].upstream : upstream;
    return !url.empty() && url != "direct";
  };
  const auto may_have_proxy = [&](const Verdict::ByHost& choice) {
    return has_proxy(choice.rule, choice.action);
  };
  return !has_proxy(verdict.rule, verdict.action) &&
         std::ranges::none_of(verdict.by_host, may_have_proxy);
}

json Policy::to_json() const {
  auto list = json::array();
  for (const Rule& rule : rules) list.push_back(rule_to_json(rule));
  json data{{"filter", filter.to_json()}, {"rules", std::move(list)}};
  if (capture) data["capture"] = capture_to_json(*capture);
  if (!upstream.empty()) data["upstream"] = upstream;
  return data;
}

Result<Policy> Policy::from_json(const json& data) {
  if (!has_keys(data, {"filter", "rules"}, {"capture", "upstream"}))
    return failure("policy: not an object of its keys");
  Policy policy;
  auto filter = ProgramFilter::from_json(data["filter"]);
  if (!filter) return filter.error();
  policy.filter = std::move(*filter);
  if (const auto good = read_rules(data["rules"], policy); !good) return good.error();
  if (const auto entry = data.find("capture"); entry != data.end()) {
    auto capture = capture_from_json(*entry);
    if (!capture) return capture.error();
    policy.capture = *capture;
  }
  if (const auto upstream = data.find("upstream"); upstream != data.end()) {
    const auto* url = upstream->get_ptr<const std::string*>();
    if (!url || url->size() > kMaxUpstream)
      return failure("policy: upstream is no text of at most 1024 bytes");
    policy.upstream = *url;
  }
  return policy;
}

}  // namespace divert
