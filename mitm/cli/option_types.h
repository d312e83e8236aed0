// The types that option values have, each for a member of Settings. An entry of the table has one:
//
//     {.name = "bodies", ..., .type = size<&Settings::bodies>()},
#pragma once

#include <array>
#include <optional>
#include <type_traits>
#include <utility>

#include "mitm/cli/options.h"
#include "mitm/cli/values.h"

namespace mitm::cli::option_types {

template <class Member>
inline constexpr bool kIsOptional = false;
template <class Value>
inline constexpr bool kIsOptional<std::optional<Value>> = true;

template <auto member>
using Member = std::remove_cvref_t<decltype(std::declval<Settings>().*member)>;

/// What the member holds; an optional one, when there is a value.
template <class T>
struct Content {
  using Type = T;
};
template <class T>
struct Content<std::optional<T>> {
  using Type = T;
};
template <auto member>
using Value = typename Content<Member<member>>::Type;

/// `read`: from JSON to a Result of the value; `write`: from the value to JSON.
template <auto member, auto read, auto write>
constexpr ValueType value_type(Kind kind) {
  ValueType type;
  type.kind = kind;
  type.parse = [](const nlohmann::json& value, Settings& settings) -> base::Result<> {
    auto parsed = read(value);
    if (!parsed) return parsed.error();
    settings.*member = std::move(*parsed);
    return {};
  };
  type.render = [](const Settings& settings) -> nlohmann::json {
    if constexpr (kIsOptional<Member<member>>) {
      if (!(settings.*member)) return nullptr;
      return write(*(settings.*member));
    } else {
      return write(settings.*member);
    }
  };
  type.copy = [](const Settings& from, Settings& to) { to.*member = from.*member; };
  return type;
}

template <class T>
base::Result<T> read_plain(const nlohmann::json& value) {
  return value.get<T>();
}
template <class T>
nlohmann::json write_plain(const T& value) {
  return value;
}

template <auto member>
constexpr ValueType flag() {
  return value_type<member, read_plain<bool>, write_plain<bool>>(Kind::flag);
}

/// Any text: a path, a name.
template <auto member>
constexpr ValueType text() {
  return value_type<member, read_plain<std::string>, write_plain<std::string>>(Kind::text);
}

template <auto member>
constexpr ValueType number(long long smallest, long long largest) {
  ValueType type =
      value_type<member, read_plain<Value<member>>, write_plain<Value<member>>>(Kind::number);
  type.smallest = smallest;
  type.largest = largest;
  return type;
}

/// A word and its value.
template <class T>
struct Choice {
  std::string_view word;
  T value;
};

template <const auto& choices>
inline constexpr auto kWords = [] {
  std::array<std::string_view, std::size(choices)> words;
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = choices[i].word;
  return words;
}();

template <class T, const auto& choices>
base::Result<T> read_choice(const nlohmann::json& value) {
  for (const auto& choice : choices) {
    if (value == std::string(choice.word)) return choice.value;
  }
  return base::failure("expected {}, found {}", fmt::join(kWords<choices>, "|"), quoted(value));
}

template <class T, const auto& choices>
nlohmann::json write_choice(const T& value) {
  for (const auto& choice : choices) {
    if (choice.value == value) return std::string(choice.word);
  }
  return nullptr;
}

/// One of a few words; `choices`: an array of Choice.
template <auto member, const auto& choices>
constexpr ValueType choice() {
  ValueType type =
      value_type<member, read_choice<Value<member>, choices>, write_choice<Value<member>, choices>>(
          Kind::text);
  type.choices = kWords<choices>;
  return type;
}

/// A text for a number; in the file the number itself will do, too.
template <auto member, auto parse, auto render>
constexpr ValueType text_or_number(long long smallest, long long largest) {
  ValueType type = value_type<member, parse, render>(Kind::text);
  type.smallest = smallest;
  type.largest = largest;
  return type;
}

template <auto member>
constexpr ValueType size() {
  return text_or_number<member, parse_size, render_size>(0, kLargestSize);
}
template <auto member>
constexpr ValueType duration() {
  return text_or_number<member, parse_duration, render_duration>(0, kLongestTime.count());
}
template <auto member>
constexpr ValueType mark() {
  return text_or_number<member, parse_mark, render_mark>(1, 4294967295);
}

template <auto member>
constexpr ValueType ports() {
  ValueType type = value_type<member, parse_ports, render_ports>(Kind::list);
  type.smallest = 1;
  type.largest = 65535;
  return type;
}
template <auto member>
constexpr ValueType networks() {
  return value_type<member, parse_networks, render_networks>(Kind::list);
}

/// A value that never reaches root as it is: the config loader makes the policy, or opens files.
constexpr ValueType for_loader(ValueType type) {
  type.crosses_wire = false;
  return type;
}

template <auto member>
constexpr ValueType hosts() {
  return for_loader(value_type<member, parse_hosts, write_plain<Value<member>>>(Kind::list));
}

constexpr ValueType checked(ValueType type, base::Result<> (*check)(const nlohmann::json&)) {
  type.check = check;
  return type;
}

}  // namespace mitm::cli::option_types
