// The config file: read, checked key by key with the line of each, and laid between defaults and command
// line.
#include <cerrno>
#include <map>

#include <fmt/format.h>

#include "base/fd.h"
#include "mitm/cli/options.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

constexpr std::size_t kMaxConfig = 1 << 20;

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

/// First pass: the line of every key of the outermost object, syntax errors, and keys that stand twice.
class KeyLines final : public nlohmann::json_sax<json> {
 public:
  explicit KeyLines(const std::size_t& line) : line_(line) {}

  std::map<std::string, std::size_t> lines;
  std::string problem;
  std::size_t problem_line = 0;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(json::number_integer_t) override { return true; }
  bool number_unsigned(json::number_unsigned_t) override { return true; }
  bool number_float(json::number_float_t, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(json::binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return true;
  }
  bool key(std::string& name) override {
    if (keys_.size() == 1 && depth_ == 0) lines[name] = line_;
    if (keys_.back()[name]++ == 0) return true;
    problem = fmt::format("the key '{}' stands twice", name);
    problem_line = line_;
    return false;
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override {
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t, const std::string& last_token, const json::exception& error) override {
    const std::string text = error.what();
    const auto reason = text.find("syntax error");
    problem = reason == text.npos ? fmt::format("no JSON at '{}'", last_token) : text.substr(reason);
    problem_line = line_;
    return false;
  }

 private:
  const std::size_t& line_;
  std::vector<std::map<std::string, int>> keys_;
  int depth_ = 0;
};

std::vector<std::string_view> config_keys() {
  std::vector<std::string_view> keys;
  for (const auto& option : option_table()) {
    if (option.in_config) keys.push_back(option.name);
  }
  return keys;
}

Result<> check_key(const std::string& key, const json& value) {
  const Option* option = find_option(key);
  if (!option || !option->in_config) return failure("unknown key{}", suggestion(key, config_keys()));
  return check_value(*option, value);
}

Result<json> parse_config(const std::string& path, const std::string& text) {
  std::size_t line = 1;
  KeyLines keys{line};
  const bool sound =
      json::sax_parse(LineCounter{text.data(), &line}, LineCounter{text.data() + text.size(), &line}, &keys);
  if (!sound) return failure("{}:{}: {}", path, keys.problem_line, keys.problem);
  const json config = json::parse(text, nullptr, false);
  if (!config.is_object()) return failure("{}:1: expected an object of options", path);
  for (const auto& [key, value] : config.items()) {
    // For editors; see conf/osproxy.schema.json.
    if (key == "$schema") continue;
    if (auto good = check_key(key, value); !good) {
      return failure("{}:{}: {}: {}", path, keys.lines[key], key, good.error().text);
    }
  }
  return config;
}

/// The config file's object; empty when there is none.
Result<json> read_config(const Invocation& invocation, const std::string& home) {
  const bool named = invocation.options.contains("config");
  const std::string path =
      named ? invocation.options["config"].get<std::string>() : home + "/.config/osproxy/config.json";
  const auto text = base::read_file(path, kMaxConfig);
  if (text) return parse_config(path, *text);
  const int code = text.error().os_code;
  if (!named && (code == ENOENT || code == ENOTDIR || code == EACCES)) return json::object();
  return base::Error{"--config: " + text.error().text, code};
}

json default_value(const Option& option) {
  if (option.kind == Kind::flag) return false;
  if (option.kind == Kind::number) return std::stoll(std::string(option.default_text));
  return std::string(option.default_text);
}

}  // namespace

Result<json> effective_options(const Invocation& invocation, const std::string& home) {
  json effective = json::object();
  for (const auto& option : option_table()) {
    const bool has_default = option.kind == Kind::flag || !option.default_text.empty();
    if (has_default && option.name != "mode") effective[std::string(option.name)] = default_value(option);
  }
  auto config = read_config(invocation, home);
  if (!config) return config.error();
  config->erase("$schema");
  effective.update(*config);
  effective.update(invocation.options);
  effective.erase("mode");
  effective.erase("config");
  if (invocation.command == "run" && !invocation.positional.empty())
    effective["filter"] = invocation.positional.front();
  return effective;
}

}  // namespace mitm::cli
