#include "mitm/control/rule_reader.h"

#include <algorithm>

#include "base/text.h"
#include "mitm/control/value_reader.h"

namespace mitm::control {
namespace {

using base::failure;
using nlohmann::json;

constexpr std::string_view kOwnKeys[] = {"name",     "enabled", "match",       "request",
                                         "response", "times",   "probability", "actions"};

std::string_view word_of(Side side) {
  return side == Side::request ? "request" : "response";
}

/// The actions of one object, and those in its request and response.
class StepReader {
 public:
  StepReader(const Places& places, const Complain& complain, Rule& rule)
      : places_(places), complain_(complain), rule_(rule) {}

  /// `side`: of the object around; `place`: where that is, "request.".
  void read(const json& data, Side side, const std::string& place) {
    for (const ActionKey& known : action_keys()) {
      const auto value = data.find(known.key);
      if (value != data.end()) read(known, *value, side, place);
    }
    for (const Side inner : {Side::request, Side::response}) {
      const std::string key(word_of(inner));
      const auto found = data.find(key);
      if (found == data.end()) continue;
      if (side != Side::both || !found->is_object() || found->empty()) {
        complain_(place + key, unexpected("an object of actions", *found).text);
        continue;
      }
      check_keys(*found, place + key + ".");
      read(*found, inner, place + key + ".");
    }
  }

 private:
  void read(const ActionKey& known, const json& value, Side side, const std::string& place) {
    const std::string key = place + known.key;
    if (!end_.empty() && (known.side == Side::request || side == Side::request))
      return complain_(key, fmt::format("nothing is done to the request behind {}", end_));
    if (side != Side::both && known.side != Side::both && side != known.side)
      return complain_(
          key, failure("it changes a {}, not a {}", word_of(known.side), word_of(side)).text);
    auto actions = known.read(value, places_);
    if (!actions) return complain_(key, actions.error().text);
    for (Action& action : *actions) {
      if (ends_request(action)) end_ = key;
      rule_.steps.push_back({side == Side::both ? known.side : side, std::move(action)});
    }
  }

  void check_keys(const json& data, const std::string& place) {
    std::vector<std::string_view> keys;
    for (const ActionKey& known : action_keys()) keys.emplace_back(known.key);
    for (const auto& [key, value] : data.items()) {
      if (std::ranges::find(keys, key) == keys.end())
        complain_(place + key, unknown_key(key, keys));
    }
  }

  const Places& places_;
  const Complain& complain_;
  Rule& rule_;
  std::string end_;  ///< the key that ends the request; empty: none yet
};

void read_list(const json& list, StepReader& steps, const Complain& complain) {
  if (!list.is_array() || list.empty())
    return complain("actions", unexpected("a list of actions", list).text);
  std::vector<std::string_view> keys{"request", "response"};
  for (const ActionKey& known : action_keys()) keys.emplace_back(known.key);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string place = fmt::format("actions[{}]", i);
    if (!list[i].is_object() || list[i].size() != 1) {
      complain(place, unexpected("an object with one action", list[i]).text);
      continue;
    }
    for (const auto& [key, value] : list[i].items()) {
      if (std::ranges::find(keys, key) == keys.end())
        complain(place + "." + key, unknown_key(key, keys));
    }
    steps.read(list[i], Side::both, place + ".");
  }
}

/// `has_unknown`: a key that was complained of may have been meant as an action.
void read_steps(const json& data, bool has_unknown, const Places& places, const Complain& complain,
                Rule& rule) {
  StepReader steps{places, complain, rule};
  const bool has_list = data.contains("actions");
  if (has_list) read_list(data["actions"], steps, complain);
  const bool has_others = data.contains("request") || data.contains("response") ||
                          std::ranges::any_of(action_keys(), [&](const auto& known) {
                            return data.contains(known.key);
                          });
  if (has_list && has_others)
    return complain("actions", "other actions stand beside the list: put them into it");
  if (!has_list && !has_others && !has_unknown)
    return complain("match", "the rule has no action, such as set_header, respond or block");
  if (!has_list) steps.read(data, Side::both, "");
}

void read_limits(const json& data, const Complain& complain, Rule& rule) {
  if (const auto value = data.find("enabled"); value != data.end()) {
    if (!value->is_boolean()) complain("enabled", unexpected("true or false", *value).text);
    rule.enabled = *value != false;
  }
  if (const auto value = data.find("times"); value != data.end()) {
    if (value->is_number_unsigned() && *value != 0U) {
      rule.times = value->get<std::uint64_t>();
    } else {
      complain("times", unexpected("a whole number from 1", *value).text);
    }
  }
  if (const auto value = data.find("probability"); value != data.end()) {
    if (value->is_number() && value->get<double>() > 0 && value->get<double>() <= 1) {
      rule.probability = value->get<double>();
    } else {
      complain("probability", unexpected("a number above 0, up to 1", *value).text);
    }
  }
}

query::Filter any_flow() {
  return *query::Filter::parse("");
}

}  // namespace

std::vector<std::string_view> rule_keys() {
  std::vector<std::string_view> keys(std::begin(kOwnKeys), std::end(kOwnKeys));
  for (const ActionKey& known : action_keys()) {
    // Those that say only why they are not possible are not offered.
    if (known.key != std::string_view("url") && known.key != std::string_view("redirect"))
      keys.emplace_back(known.key);
  }
  return keys;
}

bool is_message_rule(const json& data) {
  return std::ranges::any_of(kOwnKeys, [&](auto key) { return data.contains(std::string(key)); }) ||
         std::ranges::any_of(action_keys(),
                             [&](const auto& known) { return data.contains(known.key); });
}

Rule read_rule(const json& data, std::string name, const Places& places, const Complain& complain) {
  Rule rule{.name = std::move(name), .enabled = true, .match = any_flow(), .steps = {}};
  const auto keys = rule_keys();
  bool has_unknown = false;
  for (const auto& [key, value] : data.items()) {
    const bool known =
        std::ranges::find(keys, key) != keys.end() || key == "url" || key == "redirect";
    if (!known) complain(key, unknown_key(key, keys));
    has_unknown = has_unknown || !known;
  }
  if (const auto value = data.find("name"); value != data.end()) {
    if (value->is_string() && *value != "") {
      rule.name = value->get<std::string>();
    } else {
      complain("name", unexpected("a string", *value).text);
    }
  }
  if (const auto value = data.find("match"); value != data.end()) {
    if (value->is_string()) {
      auto filter = parse_match(value->get_ref<const std::string&>());
      if (filter) {
        rule.match = std::move(*filter);
      } else {
        complain("match", filter.error().text);
      }
    } else {
      complain("match", unexpected("a filter of flows", *value).text);
    }
  }
  read_limits(data, complain, rule);
  read_steps(data, has_unknown, places, complain, rule);
  return rule;
}

}  // namespace mitm::control
