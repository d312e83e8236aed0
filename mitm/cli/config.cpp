// The config file: read, checked key by key with the line of each, and laid between defaults and
// command line.
#include "mitm/cli/config.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/fd.h"
#include "base/suggestion.h"
#include "base/text.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/options.h"
#include "mitm/cli/values.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

constexpr std::size_t kMaxConfig = 1 << 20;
/// Whether // and /* */ are skipped: who writes rules by hand says why they are there.
constexpr bool kComments = true;

/// Counts the lines that the parser has read. The copies that the parser makes share the count.
class LineCounter {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  LineCounter(const char* at, std::size_t* line) : at_(at), line_(line) {}
  reference operator*() const { return *at_; }
  LineCounter& operator++() {
    if (*at_ == '\n') ++*line_;
    ++at_;
    return *this;
  }
  LineCounter operator++(int) {
    LineCounter before = *this;
    ++*this;
    return before;
  }
  bool operator==(const LineCounter& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  std::size_t* line_;
};

/// First pass: the lines of keys ("rules" and "rules[1].host"; not deeper), syntax errors, and keys
/// that stand twice.
class KeyLines final : public nlohmann::json_sax<json> {
 public:
  KeyLines(const std::string& text, const std::size_t& line) : text_(text), line_(line) {}

  std::map<std::string, std::size_t> lines;
  std::string problem;
  std::size_t problem_line = 0;

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(json::number_integer_t) override { return value(); }
  bool number_unsigned(json::number_unsigned_t) override { return value(); }
  bool number_float(json::number_float_t, const std::string&) override { return value(); }
  bool string(std::string&) override { return value(); }
  bool binary(json::binary_t&) override { return value(); }
  bool start_object(std::size_t) override {
    value();
    if (open_.size() == 2) lines[place()] = line_;
    return open();
  }
  bool key(std::string& name) override {
    Level& level = open_.back();
    level.key = name;
    if (open_.size() == 1 || open_.size() == kDepth) lines[place()] = line_;
    if (level.seen.insert(name).second) return true;
    return stop(fmt::format("duplicate key '{}'", name));
  }
  bool end_object() override {
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override {
    value();
    return open() && (open_.back().in_list = true);
  }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token,
                   const json::exception& error) override {
    const std::string text = error.what();
    const auto reason = text.find("syntax error");
    problem = reason == text.npos ? fmt::format("no JSON at '{}'", token) : text.substr(reason);
    // `position` counts the byte that was too much, which may be a line's end.
    const auto end = std::min(std::max<std::size_t>(position, 1) - 1, text_.size());
    problem_line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    return false;
  }

 private:
  /// An object or a list that has begun.
  struct Level {
    bool in_list = false;
    std::size_t values = 0;
    std::string key;
    std::set<std::string> seen;
  };
  /// The options, the list of rules, a rule.
  static constexpr std::size_t kDepth = 3;
  /// No option goes so deep; a copy of a value takes stack for each level.
  static constexpr std::size_t kDeepest = 16;

  bool open() {
    open_.emplace_back();
    if (open_.size() <= kDeepest) return true;
    return stop(fmt::format("lists and objects are nested more than {} deep", kDeepest));
  }
  bool stop(std::string why) {
    problem = std::move(why);
    problem_line = line_;
    return false;
  }

  bool value() {
    if (!open_.empty()) ++open_.back().values;
    return true;
  }
  [[nodiscard]] std::string place() const {
    std::string text;
    for (const Level& level : open_)
      text += level.in_list ? fmt::format("[{}]", level.values - 1)
                            : (text.empty() ? "" : ".") + level.key;
    return text;
  }

  const std::string& text_;
  const std::size_t& line_;
  std::vector<Level> open_;
};

std::vector<std::string_view> config_keys() {
  std::vector<std::string_view> keys;
  for (const auto& option : option_table()) {
    if (option.in_config()) keys.push_back(option.name);
  }
  return keys;
}

Result<> read_key(const std::string& key, const json& value, Settings& settings) {
  // For editors; see conf/osproxy.schema.json.
  if (key == "$schema")
    return value.is_string() ? Result<>{}
                             : failure("expected a string, found {}", describe_value(value));
  const Option* option = find_option(key);
  if (!option || !option->in_config())
    return failure("unknown key{}", base::suggestion(key, config_keys()));
  return set_option(*option, value, settings);
}

struct Complaint {
  std::size_t line = 0;
  std::string text;  ///< "KEY: what is wrong with it"
};

/// `why` may begin with a place within the value, "[1].host: ...".
Complaint complaint(const std::string& key, const std::string& why, const KeyLines& keys) {
  const auto place_size = why.starts_with('[') ? why.find(": ") : 0;
  const auto place = key + why.substr(0, place_size);
  const auto exact = keys.lines.find(place);
  const auto rule = keys.lines.find(place.substr(0, place.find(']') + 1));
  const auto line = exact != keys.lines.end()  ? exact->second
                    : rule != keys.lines.end() ? rule->second
                                               : keys.lines.at(key);
  constexpr std::size_t kLongest = 60;
  const auto name = place.size() > kLongest ? place.substr(0, kLongest) + "..." : place;
  return {line, base::printable(
                    fmt::format("{}{}{}", name, place_size ? "" : ": ", why.substr(place_size)))};
}

/// In the order of their lines.
base::Error all_of(const std::map<std::size_t, std::vector<std::string>>& complaints) {
  std::string text;
  std::size_t count = 0;
  for (const auto& [line, list] : complaints) {
    for (const auto& one : list) {
      text.append(text.empty() ? "" : "\n").append(one);
      ++count;
    }
  }
  return {std::move(text), count > 1 ? kSeveralErrors : 0};
}

Result<> parse_config(const std::string& path, const std::string& text, Settings& settings) {
  // The parser takes NUL for the end.
  if (const auto nul = text.find('\0'); nul != text.npos) {
    const auto lines =
        std::ranges::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(nul), '\n');
    return failure("{}:{}: expected JSON, found a NUL byte", path, 1 + lines);
  }
  std::size_t line = 1;
  KeyLines keys{text, line};
  const bool sound = json::sax_parse(LineCounter{text.data(), &line},
                                     LineCounter{text.data() + text.size(), &line}, &keys,
                                     json::input_format_t::json, true, kComments);
  if (!sound) return failure("{}:{}: {}", path, keys.problem_line, base::printable(keys.problem));
  const json config = json::parse(text, nullptr, false, kComments);
  if (!config.is_object())
    return failure("{}:1: expected an object of options, found {}", path, describe_value(config));
  std::map<std::size_t, std::vector<std::string>> complaints;  // by line
  for (const auto& [key, value] : config.items()) {
    const auto good = read_key(key, value, settings);
    if (good) continue;
    for_each_part(good.error().text, '\n', [&, &name = key](std::string_view why) {
      const auto one = complaint(name, std::string(why), keys);
      complaints[one.line].push_back(fmt::format("{}:{}: {}", path, one.line, one.text));
    });
  }
  if (!complaints.empty()) return all_of(complaints);
  return {};
}

/// Reads the config file, if there is one, over the defaults in `settings`.
Result<> read_config(const Invocation& invocation, const std::string& home, Settings& settings) {
  const bool named = invocation.has("config");
  const std::string path = config_path(invocation, home);
  const auto text = base::read_file(path, kMaxConfig);
  if (text) return parse_config(path, *text, settings);
  const int code = text.error().os_code;
  if (named) return base::Error{"--config: " + text.error().text, code};
  if (code == ENOENT || code == ENOTDIR || code == EACCES) return {};
  return text.error();
}

/// What was typed for a session that there is not; the file may have it for other runs.
Result<> check_save(const Invocation& invocation, const Settings& settings) {
  if (!settings.save.empty()) return {};
  for (const std::string_view option : {"keep", "save-bodies"}) {
    if (invocation.has(option))
      return base::Error{
          fmt::format("--{} does nothing without --save: add --save FILE, or --save auto", option),
          kUsageError};
  }
  return {};
}

}  // namespace

std::string config_path(const Invocation& invocation, const std::string& home) {
  return invocation.has("config") ? invocation.typed.config : home + "/.config/osproxy/config.json";
}

Result<Settings> load_settings(const Invocation& invocation, const std::string& home) {
  Settings settings;
  if (const auto read = read_config(invocation, home, settings); !read) return read.error();
  for (const Option* option : invocation.given) option->type.copy(invocation.typed, settings);
  if (const auto good = check_save(invocation, settings); !good) return good.error();
  if (invocation.command != "run" || invocation.positional.empty()) return settings;
  auto filter = divert::ProgramFilter::parse(invocation.positional.front());
  if (!filter) return base::Error{filter.error().text, kUsageError};
  settings.filter = std::move(*filter);
  return settings;
}

}  // namespace mitm::cli
