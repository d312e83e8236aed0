// From checked JSON values to the types of the rooms below.
#include "mitm/cli/settings.h"

#include <charconv>
#include <thread>

#include <fmt/format.h>
#include <openssl/ssl.h>

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

/// The strings of a value that is one string (commas separate) or a list of them; of "" there are none.
std::vector<std::string> words_of(const json& value) {
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

int tls_number(const std::string& version) {
  if (version == "1.0") return TLS1_VERSION;
  if (version == "1.1") return TLS1_1_VERSION;
  return version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION;
}

/// One condition that is a string or a list of strings; `port` may be a number too.
Result<std::vector<std::string>> condition(const json& rule, const char* key) {
  std::vector<std::string> words;
  const auto add = [&](const json& item) {
    if (item.is_string()) words.push_back(item);
    if (item.is_number_unsigned() && std::string_view(key) == "port") words.push_back(item.dump());
    return item.is_string() || (item.is_number_unsigned() && std::string_view(key) == "port");
  };
  const auto& value = rule[key];
  bool good = true;
  if (value.is_array()) {
    for (const auto& item : value) good = good && add(item);
    good = good && !value.empty();
  } else {
    good = add(value);
  }
  if (!good) return failure(".{}: expected a string or a list of strings, found {}", key, shown(value));
  return words;
}

Result<> read_hosts(const std::vector<std::string>& words, divert::Rule& rule) {
  for (const auto& word : words) {
    auto pattern = divert::parse_host_pattern(word);
    if (!pattern) return failure(".host: {}", pattern.error().text);
    rule.hosts.push_back(std::move(*pattern));
  }
  return {};
}

Result<> read_ports(const std::vector<std::string>& words, divert::Rule& rule) {
  for (const auto& word : words) {
    const auto range = base::parse_port_range(word);
    if (!range) return failure(".port: {}", range.error().text);
    rule.ports.push_back(*range);
  }
  return {};
}

Result<> read_networks(const std::vector<std::string>& words, divert::Rule& rule) {
  for (const auto& word : words) {
    const auto network = base::parse_network(word);
    if (!network) return failure(".network: {}", network.error().text);
    rule.networks.push_back(*network);
  }
  return {};
}

Result<> read_user(const std::vector<std::string>& words, divert::Rule& rule) {
  if (words.size() != 1 || words[0].empty()) return failure(".user: expected one user name or number");
  rule.user = words[0];
  return {};
}

Result<> read_process(const std::vector<std::string>& words, divert::Rule& rule) {
  auto filter = divert::Filter::parse(fmt::format("{}", fmt::join(words, ",")));
  if (!filter) return failure(".process: {}", filter.error().text);
  rule.process = std::move(*filter);
  return {};
}

struct Condition {
  const char* key;
  Result<> (*read)(const std::vector<std::string>&, divert::Rule&);
};
constexpr Condition kConditions[] = {{"process", read_process},
                                     {"host", read_hosts},
                                     {"port", read_ports},
                                     {"network", read_networks},
                                     {"user", read_user}};

Result<divert::Action> read_action(const json& rule) {
  const auto found = rule.find("action");
  if (found != rule.end() && found->is_string()) {
    for (const auto action : {divert::Action::pass, divert::Action::intercept, divert::Action::block}) {
      if (*found == std::string(divert::to_string(action))) return action;
    }
  }
  return failure(".action: expected intercept, pass or block, found {}",
                 found == rule.end() ? "none" : shown(*found));
}

Result<divert::Rule> parse_rule(const json& data) {
  divert::Rule rule;
  for (const auto& [key, value] : data.items()) {
    std::vector<std::string_view> keys{"action"};
    for (const auto& known : kConditions) keys.emplace_back(known.key);
    if (std::ranges::find(keys, key) == keys.end())
      return failure(".{}: unknown key{}", key, suggestion(key, keys));
  }
  const auto action = read_action(data);
  if (!action) return action.error();
  rule.action = *action;
  for (const auto& known : kConditions) {
    if (!data.contains(known.key)) continue;
    const auto words = condition(data, known.key);
    if (!words) return words.error();
    if (auto read = known.read(*words, rule); !read) return read.error();
  }
  return rule;
}

json texts(const auto& items) {
  json list = json::array();
  for (const auto& item : items) list.push_back(base::to_string(item));
  return list;
}

int default_threads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 64);
}

}  // namespace

Result<std::vector<base::PortRange>> parse_ports(const json& value) {
  std::vector<base::PortRange> ranges;
  const auto words = words_of(value);
  for (const auto& word : words) {
    if (word == "all") {
      if (words.size() > 1) return failure("expected all, or ports and ranges of ports, found both");
      return ranges;
    }
    const auto range = base::parse_port_range(word);
    if (!range) return range.error();
    ranges.push_back(*range);
  }
  if (ranges.empty()) return failure("expected ports, ranges of ports or all");
  return ranges;
}

Result<std::vector<base::Network>> parse_networks(const json& value) {
  std::vector<base::Network> networks;
  for (const auto& word : words_of(value)) {
    const auto network = base::parse_network(word);
    if (!network) return network.error();
    networks.push_back(*network);
  }
  return networks;
}

Result<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit{end, text.data() + text.size()};
  const unsigned shift = unit.empty()                 ? 0
                         : unit == "k" || unit == "K" ? 10
                         : unit == "M"                ? 20
                         : unit == "G"                ? 30
                                                      : 64;
  if (error != std::errc{} || shift == 64 || value > (std::uint64_t{1} << 40) >> shift) {
    return failure("expected a number of bytes such as 4096, 64k or 10M, found '{}'", text);
  }
  return value << shift;
}

Result<std::vector<divert::Rule>> parse_rules(const json& list) {
  if (list.size() > divert::Policy::kMaxRules)
    return failure("expected at most {} rules, found {}", divert::Policy::kMaxRules, list.size());
  std::vector<divert::Rule> rules;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto rule = parse_rule(list[i]);
    if (!rule) return failure("[{}]{}", i, rule.error().text);
    rules.push_back(std::move(*rule));
  }
  return rules;
}

Result<RunSettings> run_settings(const json& effective, const Invocation& invocation) {
  RunSettings settings;
  auto ports = parse_ports(effective.value("ports", json("all")));
  if (!ports) return failure("ports: {}", ports.error().text);
  settings.ports = std::move(*ports);
  auto excluded = parse_networks(effective.value("exclude", json("")));
  if (!excluded) return failure("exclude: {}", excluded.error().text);
  settings.excluded = std::move(*excluded);
  const std::string family = effective.value("family", "both");
  settings.ipv4 = family != "ipv6";
  settings.ipv6 = family != "ipv4";
  settings.loopback = effective.value("loopback", false);
  if (effective.contains("group")) settings.group = effective["group"].get<std::uint32_t>();
  settings.listen_port = effective.value("listen-port", std::uint16_t{0});
  if (invocation.command != "exec") {
    auto filter = divert::Filter::parse(effective.value("filter", ""));
    if (!filter) return base::Error{filter.error().text, EINVAL};
    settings.policy.filter = std::move(*filter);
  }
  auto rules = parse_rules(effective.value("rules", json::array()));
  if (!rules)
    return failure("rules{}{}", rules.error().text.starts_with('[') ? "" : ": ", rules.error().text);
  settings.policy.rules = std::move(*rules);
  settings.format = effective.value("format", "text");
  settings.output = effective.value("output", "");
  settings.pcap = effective.value("pcap", "");
  settings.color = effective.value("color", "auto");
  settings.ca_dir = effective.value("ca-dir", "");
  settings.upstream_ca_path = effective.value("upstream-ca", "");
  settings.tls_min = tls_number(effective.value("tls-min", ""));
  settings.detail = effective.value("detail", 1);
  const auto bodies = parse_size(effective.value("bodies", "0"));
  if (!bodies) return failure("bodies: {}", bodies.error().text);
  settings.bodies = *bodies;
  settings.insecure = effective.value("insecure", false);
  settings.wait = effective.value("wait", false);
  settings.threads = effective.value("threads", default_threads());
  return settings;
}

json RunSettings::to_json() const {
  json data{{"ports", texts(ports)},
            {"excluded", texts(excluded)},
            {"ipv4", ipv4},
            {"ipv6", ipv6},
            {"loopback", loopback},
            {"listen_port", listen_port},
            {"policy", policy.to_json()},
            {"format", format},
            {"output", output},
            {"pcap", pcap},
            {"color", color},
            {"ca_dir", ca_dir},
            {"upstream_ca_path", upstream_ca_path},
            {"tls_min", tls_min},
            {"detail", detail},
            {"bodies", bodies},
            {"insecure", insecure},
            {"wait", wait},
            {"threads", threads}};
  if (group) data["group"] = *group;
  return data;
}

Result<RunSettings> RunSettings::from_json(const json& data) {
  RunSettings settings;
  try {
    for (const std::string word : data.at("ports")) {
      const auto range = base::parse_port_range(word);
      if (!range) return range.error();
      settings.ports.push_back(*range);
    }
    for (const std::string word : data.at("excluded")) {
      const auto network = base::parse_network(word);
      if (!network) return network.error();
      settings.excluded.push_back(*network);
    }
    data.at("ipv4").get_to(settings.ipv4);
    data.at("ipv6").get_to(settings.ipv6);
    data.at("loopback").get_to(settings.loopback);
    data.at("listen_port").get_to(settings.listen_port);
    data.at("format").get_to(settings.format);
    data.at("output").get_to(settings.output);
    data.at("pcap").get_to(settings.pcap);
    data.at("color").get_to(settings.color);
    data.at("ca_dir").get_to(settings.ca_dir);
    data.at("upstream_ca_path").get_to(settings.upstream_ca_path);
    data.at("tls_min").get_to(settings.tls_min);
    data.at("detail").get_to(settings.detail);
    data.at("bodies").get_to(settings.bodies);
    data.at("insecure").get_to(settings.insecure);
    data.at("wait").get_to(settings.wait);
    data.at("threads").get_to(settings.threads);
    if (data.contains("group")) settings.group = data.at("group").get<std::uint32_t>();
    auto policy = divert::Policy::from_json(data.at("policy"));
    if (!policy) return policy.error();
    settings.policy = std::move(*policy);
  } catch (const json::exception& error) {
    return failure("settings that osproxy did not write: {}", error.what());
  }
  if (settings.threads < 1 || settings.threads > 64)
    return failure("settings that osproxy did not write: threads");
  return settings;
}

}  // namespace mitm::cli
