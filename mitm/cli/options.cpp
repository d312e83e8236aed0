// What is done with any option, by its entry in the table.
#include "mitm/cli/options.h"

#include <fmt/format.h>

#include "mitm/cli/values.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

std::string_view kind_text(const Option& option) {
  switch (option.type.kind) {
    case Kind::flag:
      return "true or false";
    case Kind::text:
      return option.takes_numbers() ? "a string or a whole number" : "a string";
    case Kind::number:
      return "a whole number";
    case Kind::list:
      return option.takes_numbers() ? "a string, a whole number or a list of them"
                                    : "a string or a list of strings";
    case Kind::objects:
      return "a list of objects";
  }
  return "";
}

bool is_of_kind(const Option& option, const json& value) {
  const auto is_text = [&](const json& item) {
    return item.is_string() || (option.takes_numbers() && item.is_number_integer());
  };
  const auto all = [&](auto predicate) {
    return value.is_array() && std::ranges::all_of(value, predicate);
  };
  switch (option.type.kind) {
    case Kind::flag:
      return value.is_boolean();
    case Kind::text:
      return is_text(value);
    case Kind::number:
      return value.is_number_integer();
    case Kind::list:
      return is_text(value) || all(is_text);
    case Kind::objects:
      return all([](const json& item) { return item.is_object(); });
  }
  return false;
}

Result<> check_range(const ValueType& type, const json& value) {
  const bool fits = !value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX;
  if (fits && value.get<long long>() >= type.smallest && value.get<long long>() <= type.largest)
    return {};
  return failure("expected a number from {} to {}, found {}", type.smallest, type.largest,
                 describe_value(value));
}

/// `value` with strings for whole numbers, where the option takes either.
json as_text(const Option& option, const json& value) {
  json words = value;
  if (!option.takes_numbers()) return words;
  const auto reword = [](json& item) {
    if (item.is_number()) item = item.dump();
  };
  if (words.is_array()) {
    for (json& item : words) reword(item);
  } else {
    reword(words);
  }
  return words;
}

/// A value of any origin: its type, its range, then what it means.
Result<> parse(const Option& option, const json& value, Settings& settings) {
  if (!is_of_kind(option, value))
    return failure("expected {}, found {}", kind_text(option), describe_value(value));
  if (option.type.kind == Kind::number) {
    if (const auto good = check_range(option.type, value); !good) return good;
  }
  return option.type.parse(as_text(option, value), settings);
}

bool is_nothing(const json& value) {
  return value.is_null() || value == "" || (value.is_array() && value.empty());
}

base::Error foreign(std::string_view what) {
  return failure("settings that osproxy did not write: {}", what);
}

std::vector<std::string_view> names_from(Source source) {
  std::vector<std::string_view> names;
  for (const Option& option : option_table()) {
    if (option.source == source && find_option(option.name) == &option)
      names.push_back(option.name);
  }
  return names;
}

}  // namespace

const Option* find_option(std::string_view name) {
  const auto table = option_table();
  const auto found = std::ranges::find(table, name, &Option::name);
  return found == table.end() ? nullptr : &*found;
}

bool knows(std::string_view command, const Option& option) {
  bool found = false;
  for_each_part(option.commands, ' ', [&](std::string_view one) { found |= one == command; });
  return found;
}

Result<> set_option(const Option& option, const json& value, Settings& settings) {
  if (const auto parsed = parse(option, value, settings); !parsed) return parsed;
  return option.type.check ? option.type.check(value) : Result<>{};
}

json default_of(const Option& option) {
  json value = option.type.render(Settings{});
  return is_nothing(value) ? json() : value;
}

std::string default_text(const Option& option) {
  const json value = default_of(option);
  if (option.is_flag() || value.is_null()) return {};
  return value.is_string() ? value.get<std::string>() : value.dump();
}

json render_config(const Settings& settings) {
  json data = json::object();
  for (const Option& option : option_table()) {
    if (!option.in_config()) continue;
    json value = option.type.render(settings);
    if (!is_nothing(value)) data[std::string(option.name)] = std::move(value);
  }
  return data;
}

json to_wire(const Settings& settings) {
  json data = json::object();
  for (const Option& option : option_table()) {
    if (!option.type.crosses_wire) continue;
    json value = option.type.render(settings);
    if (!value.is_null()) data[std::string(option.name)] = std::move(value);
  }
  return data;
}

Result<Settings> from_wire(const json& data) {
  Settings settings;
  if (!data.is_object()) return foreign("the whole");
  std::size_t known = 0;
  for (const Option& option : option_table()) {
    if (!option.type.crosses_wire) continue;
    const auto found = data.find(std::string(option.name));
    if (found == data.end()) {
      if (!option.type.render(settings).is_null()) return foreign(option.name);
      continue;
    }
    // Other spellings of a value than the one that to_wire() has are good for users only.
    if (!parse(option, *found, settings) || option.type.render(settings) != *found)
      return foreign(option.name);
    ++known;
  }
  if (data.size() != known) return foreign("its keys");
  return settings;
}

std::vector<std::string_view> cli_only_options() {
  return names_from(Source::command_line);
}

std::vector<std::string_view> config_only_options() {
  return names_from(Source::config);
}

}  // namespace mitm::cli
