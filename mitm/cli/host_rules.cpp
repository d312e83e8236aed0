// What decides by host: the config's lists of objects (rules, client-certs), and the rules that
// options make. All that is wrong with a list is said at once.
#include <fmt/format.h>

#include "base/host_pattern.h"
#include "base/text.h"
#include "mitm/cli/settings.h"
#include "mitm/proxy/url.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

constexpr std::size_t kMaxRules = 1000;
constexpr std::size_t kMaxClientCerts = 50;

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
    return failure("expected {}, found {}", condition.expected, shown(value));
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
                 found == rule.end() ? "none" : shown(*found));
}

/// What is wrong with one object of a list: "[1].host: expected ...", each.
class Complaints {
 public:
  explicit Complaints(std::size_t place) : place_(place) {}

  void add(std::string_view key, const std::string& why) {
    lines_.push_back(fmt::format("[{}].{}: {}", place_, base::printable(key), why));
  }
  void add_unknown_keys(const json& data, const std::vector<std::string_view>& keys) {
    for (const auto& [key, value] : data.items()) {
      if (std::ranges::find(keys, key) == keys.end())
        add(key, "unknown key" + suggestion(key, keys));
    }
  }
  void move_to(std::vector<std::string>& all) {
    all.insert(all.end(), std::make_move_iterator(lines_.begin()),
               std::make_move_iterator(lines_.end()));
  }

 private:
  std::size_t place_;
  std::vector<std::string> lines_;
};

divert::Rule read_rule(const json& data, Complaints& wrong) {
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

/// `key` may be left out: it is in the file of the certificate then.
ClientCertPaths read_client_cert(const json& data, Complaints& wrong) {
  wrong.add_unknown_keys(data, {"host", "cert", "key"});
  std::string texts[3];
  const char* const keys[] = {"host", "cert", "key"};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto found = data.find(keys[i]);
    const bool may_be_left_out = i == 2;
    if (found != data.end() && found->is_string() && *found != "") {
      texts[i] = *found;
    } else if (found != data.end() || !may_be_left_out) {
      wrong.add(keys[i],
                "expected a string, found " + (found == data.end() ? "none" : shown(*found)));
    }
  }
  auto host =
      texts[0].empty() ? Result<std::string>{std::string()} : base::parse_host_pattern(texts[0]);
  if (!host) wrong.add("host", host.error().text);
  return {host ? std::move(*host) : std::string(), texts[1],
          texts[2].empty() ? texts[1] : texts[2]};
}

/// Each object of `list` through `read`, or the lines of all that is wrong.
template <class Item>
Result<std::vector<Item>> read_list(const json& list, Item (*read)(const json&, Complaints&)) {
  std::vector<Item> items;
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < list.size(); ++i) {
    Complaints wrong{i};
    items.push_back(read(list[i], wrong));
    wrong.move_to(lines);
  }
  if (!lines.empty()) return failure("{}", fmt::join(lines, "\n"));
  return items;
}

}  // namespace

std::vector<std::string> words_in(const json& value) {
  std::vector<std::string> words;
  const auto add = [&](const std::string& text) {
    for (std::size_t begin = 0; begin <= text.size();) {
      const auto end = std::min(text.find(',', begin), text.size());
      if (end > begin || !text.empty()) words.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  };
  if (value.is_string()) add(value);
  if (value.is_array()) {
    for (const auto& item : value) add(item);
  }
  return words;
}

Result<std::vector<ClientCertPaths>> parse_client_certs(const json& list) {
  if (list.size() > kMaxClientCerts)
    return failure("expected at most {} certificates, found {}", kMaxClientCerts, list.size());
  return read_list<ClientCertPaths>(list, read_client_cert);
}

Result<std::vector<divert::Rule>> parse_rules(const json& list) {
  if (list.size() > kMaxRules)
    return failure("expected at most {} rules, found {}", kMaxRules, list.size());
  auto rules = read_list<divert::Rule>(list, read_rule);
  for (std::size_t i = 0; rules && i < rules->size(); ++i)
    (*rules)[i].name = fmt::format("rules[{}]", i);
  return rules;
}

Result<std::vector<std::string>> parse_hosts(const json& value) {
  const auto words = words_in(value);
  if (words.empty()) return failure("expected hosts, such as example.org or *.example.org");
  if (words.size() > divert::Policy::kMaxConditions)
    return failure("expected at most {} hosts, found {}", divert::Policy::kMaxConditions,
                   words.size());
  std::vector<std::string> hosts;
  if (const auto read = read_each(words, base::parse_host_pattern, hosts); !read)
    return read.error();
  return hosts;
}

Result<> add_host_rules(const json& effective, std::vector<divert::Rule>& rules) {
  constexpr std::pair<const char*, divert::Action> kOptions[] = {
      {"block", divert::Action::block},
      {"pass", divert::Action::pass},
      {"only", divert::Action::intercept}};
  std::vector<divert::Rule> all;
  for (const auto& [option, action] : kOptions) {
    if (!effective.contains(option)) continue;
    auto hosts = parse_hosts(effective[option]);
    if (!hosts) return failure("{}: {}", option, hosts.error().text);
    divert::Rule rule;
    rule.name = fmt::format("--{}", option);
    rule.hosts = std::move(*hosts);
    rule.action = action;
    all.push_back(std::move(rule));
  }
  all.insert(all.end(), std::make_move_iterator(rules.begin()),
             std::make_move_iterator(rules.end()));
  if (effective.contains("only")) {
    all.emplace_back();
    all.back().name = "not a host of --only";
    all.back().action = divert::Action::pass;
  }
  rules = std::move(all);
  return {};
}

}  // namespace mitm::cli
