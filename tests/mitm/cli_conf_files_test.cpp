#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "base/fd.h"
#include "mitm/cli/config.h"
#include "mitm/cli/generate.h"
#include "mitm/cli/help.h"
#include "mitm/cli/options.h"
#include "mitm/cli/settings.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

using nlohmann::json;

const std::string kSource = OSPROXY_SOURCE_DIR "/";
const std::string kConf = kSource + "conf/";

/// Whether NAME in the sources is `expected`. With OSPROXY_WRITE_CONF in the environment it is made
/// so.
void check_file(const std::string& name, const std::string& expected) {
  if (std::getenv("OSPROXY_WRITE_CONF"))
    std::ofstream(kSource + name, std::ios::binary) << expected;
  INFO(name, " is made from the option table: OSPROXY_WRITE_CONF=1 mitm_test -tc='conf:*'");
  CHECK(base::read_file(kSource + name, 1 << 20).value() == expected);
}

std::string source(const std::string& name) {
  return base::read_file(kSource + name, 1 << 20).value();
}

/// Of a JSON array, for each of its values: whether it is valid.
std::vector<bool> are_valid(const std::string& schema, const std::string& file) {
  const std::string script =
      "import json, sys, jsonschema\n"
      "schema, values = (json.load(open(name)) for name in sys.argv[1:])\n"
      "jsonschema.Draft202012Validator.check_schema(schema)\n"
      "valid = jsonschema.Draft202012Validator(schema).is_valid\n"
      "print(\"\".join(str(int(valid(value))) for value in values))\n";
  const auto command = fmt::format("/usr/bin/python3 -c '{}' {} {}", script, schema, file);
  std::vector<bool> all;
  FILE* const said = ::popen(command.c_str(), "r");
  for (int c = std::fgetc(said); c == '0' || c == '1'; c = std::fgetc(said))
    all.push_back(c == '1');
  REQUIRE(::pclose(said) == 0);
  return all;
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    const base::UniqueFd fd{::mkstemp(path_)};
    REQUIRE(base::write_all(fd.get(), text));
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::remove(path_); }
  [[nodiscard]] std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/osproxy-conf-XXXXXX";
};

/// Whether a run takes `config`.
bool is_taken(const json& config) {
  const TemporaryFile file{config.dump()};
  const std::string path = file.path();
  const auto invocation = parse_command_line(std::vector<const char*>{"-c", path.c_str()});
  return load_settings(*invocation, "/nonexistent").has_value();
}

}  // namespace

TEST_CASE("conf: sample and schema are what the option table makes") {
  check_file("conf/osproxy.json", sample_config());
  check_file("conf/osproxy.schema.json", config_schema());
}

TEST_CASE("conf: shell completions and manual pages are what the option table makes") {
  check_file("conf/completion/osproxy.bash",
             bash_completion(source("conf/completion/osproxy.bash.in")));
  check_file("conf/completion/_osproxy", zsh_completion(source("conf/completion/_osproxy.in")));
  for (const char* page : {"man/osproxy.8", "man/osproxy.json.5"})
    check_file(page, manual_page(source(page + std::string(".in"))));
}

TEST_CASE("conf: the manual pages speak of every command, verb, option and key") {
  const std::string program = source("man/osproxy.8"), config = source("man/osproxy.json.5");
  for (const HelpPage& page : help_pages()) {
    CAPTURE(page.command);
    CHECK(program.find(fmt::format("\n.It Ic {}", page.command)) != program.npos);
    for (const auto verb : verbs_of(page.command)) {
      CAPTURE(verb);
      CHECK(program.find(fmt::format("\n.It Cm {}\n", verb)) != program.npos);
    }
  }
  for (const Option& option : option_table()) {
    CAPTURE(option.name);
    const bool in_program = program.find(fmt::format("Fl -{}", option.name)) != program.npos;
    const bool in_config = config.find(fmt::format("\n.It Cm {} :", option.name)) != config.npos;
    CHECK((in_program || !option.on_command_line()));
    // An option may have one entry for some commands and another one for others.
    CHECK(in_config == find_option(option.name)->in_config());
  }
}

TEST_CASE("conf: it is said exactly which options are no keys, and which keys no options") {
  std::string help = help_text("config");
  std::ranges::replace(help, '\n', ' ');
  CHECK(help.find("All long options are keys of the file, except --config, --dry-run, --dialect, "
                  "--exec-group, --into, --out-of, --mode, --force, --sort, --count, --fields, "
                  "--follow, --mitm-version, --list-fields, --with-secrets, --client-cert, "
                  "--ca-dir, --forget. Keys only: filter, rules, client-certs. ") != help.npos);
  CHECK(manual_page("@cli-only@\n").ends_with(".Fl -ca-dir ,\n.Fl -forget .\n"));
  CHECK(
      manual_page("@config-only@\n").ends_with(".Cm filter ,\n.Cm rules ,\n.Cm client-certs .\n"));
}

TEST_CASE("conf: the READMEs name only options and commands that exist") {
  const auto commands = help_pages();
  for (const char* file : {"README.md", "LIMITS.md"}) {
    const std::string text = source(file);
    std::size_t options = 0;
    for (auto at = text.find("`--"); at != text.npos; at = text.find("`--", at + 1)) {
      const std::string name = text.substr(at + 3, text.find_first_of("` ", at + 3) - at - 3);
      CAPTURE(name);
      const bool of_curl = name == "insecure" || name == "cacert";
      CHECK((of_curl || std::ranges::any_of(option_table(), [&](const Option& option) {
               return option.name == name;
             })));
      ++options;
    }
    CHECK(options > 5);
    for (auto at = text.find("`osproxy "); at != text.npos; at = text.find("`osproxy ", at + 1)) {
      const std::string word = text.substr(at + 9, text.find_first_of("` ", at + 9) - at - 9);
      CAPTURE(word);
      CHECK(
          (word == "-k" || word == "COMMAND" || word == "ARGS" ||
           std::ranges::any_of(commands, [&](const auto& page) { return page.command == word; })));
    }
  }
}

TEST_CASE("conf: the sample is valid, is taken, and holds defaults") {
  const json sample = json::parse(sample_config());
  const TemporaryFile file{json::array({sample}).dump()};
  CHECK(are_valid(kConf + "osproxy.schema.json", file.path()) == std::vector<bool>{true});
  CHECK(is_taken(sample));
  for (const Option& option : option_table()) {
    CAPTURE(option.name);
    if (!option.in_config() || default_text(option).empty()) continue;
    const json& value = sample.at(std::string(option.name));
    CHECK((value.is_string() ? value.get<std::string>() : value.dump()) == default_text(option));
  }
}

TEST_CASE("conf: program and schema agree on what is good") {
  struct Case {
    json config;
    bool good;
  };
  const json rule{{"action", "pass"}};
  const auto with_rule = [&](const char* key, const json& value) {
    json extended = rule;
    extended[key] = value;
    return json{{"rules", json::array({extended})}};
  };
  const Case cases[] = {
      {json::object(), true},
      {{{"ports", "all"}}, true},
      {{{"ports", {"80", "443"}}}, true},
      {{{"ports", 80}}, true},
      {{{"ports", 0}}, false},
      {{{"ports", 70000}}, false},
      {{{"ports", 80.5}}, false},
      {{{"ports", {443, "8000-8100"}}}, true},
      {{{"ports", {443, nullptr}}}, false},
      {{{"bodies", 65536}}, true},
      {{{"bodies", -1}}, false},
      {{{"bodies", true}}, false},
      {{{"mark", 256}}, true},
      {{{"mark", 0}}, false},
      {{{"passthrough-ttl", 0}}, true},
      {{{"passthrough-ttl", 604801}}, false},
      {{{"exclude", 10}}, false},
      {{{"ports", json::array()}}, false},
      {{{"detail", 4}}, true},
      {{{"detail", 5}}, false},
      {{{"detail", -1}}, false},
      {{{"detail", "1"}}, false},
      {{{"threads", 0}}, false},
      {{{"threads", 64}}, true},
      {{{"group", 0}}, false},
      {{{"group", 4294967294}}, true},
      {{{"listen-port", 65536}}, false},
      {{{"insecure", 1}}, false},
      {{{"tls-min", "1.0"}}, true},
      {{{"tls-min", "1.4"}}, false},
      {{{"config", "x"}}, false},
      {{{"mode", "local"}}, false},
      {{{"nothing", 1}}, false},
      {{{"rules", json::array({rule})}}, true},
      {{{"rules", rule}}, false},
      {{{"rules", json::array({json::object()})}}, false},
      {{{"rules", json::array({{{"action", "drop"}}})}}, false},
      {with_rule("host", "a.b"), true},
      {with_rule("host", {"a.b", "c"}), true},
      {with_rule("host", json::array()), false},
      {with_rule("host", 1), false},
      {with_rule("port", 80), true},
      {with_rule("port", 0), false},
      {with_rule("port", 65536), false},
      {with_rule("port", {80, "1-2"}), true},
      {with_rule("user", "ann"), true},
      {with_rule("user", 1000), true},
      {with_rule("user", -1), false},
      {with_rule("network", {"::/0"}), true},
      {with_rule("colour", "x"), false},
      {{{"modify-headers", "/a/b"}}, true},
      {{{"block-list", {"/~d a/404", "/~d b/444"}}}, true},
      {{{"anticache", true}}, true},
      {with_rule("match", "~d a"), false},
      {{{"rules", json::array({{{"match", "~d a"}}})}}, false},
      {{{"rules",
         json::parse(R"([{"match": "~d a", "set_header": {"a": ["b", {"file": "f"}]}}])")}},
       true},
      {{{"rules", json::parse(R"([{"request": {"remove_header": "a"}, "times": 1}])")}}, true},
      {{{"rules", json::parse(R"([{"response": {"method": "PUT"}}])")}}, false},
      {{{"rules", json::parse(R"([{"actions": [{"delay": "1s"}, {"block": 404}]}])")}}, true},
      {{{"rules", json::parse(R"([{"respond": {"json": [1]}, "probability": 0}])")}}, false},
      {{{"rules", json::parse(R"([{"body": {"json": null}}])")}}, true},
      {{{"rules", json::parse(R"([{"replace_body": {"text": "a", "with": "b"}}])")}}, true},
      {{{"rules", json::parse(R"([{"url": "http://b"}])")}}, false},
  };
  json configs = json::array();
  std::vector<bool> expected;
  for (const auto& [config, good] : cases) {
    CAPTURE(config.dump());
    CHECK(is_taken(config) == good);
    configs.push_back(config);
    expected.push_back(good);
  }
  const TemporaryFile file{configs.dump()};
  const auto found = are_valid(kConf + "osproxy.schema.json", file.path());
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(configs[i].dump());
    CHECK(found[i] == expected[i]);
  }
}

TEST_CASE("help: each command's text has each of its options and none of others") {
  for (const char* command : {"run", "exec", "rules", "who", "ca", "config", "cleanup"}) {
    CAPTURE(command);
    const std::string text = help_text(command);
    CHECK(text.starts_with("usage: osproxy"));
    CHECK(text.find("exit status: ") != text.npos);
    for (const Option& option : option_table()) {
      CAPTURE(option.name);
      const bool mentioned = text.find(fmt::format(" --{}", option.name)) != text.npos;
      if (option.on_command_line() && knows(command, option)) {
        CHECK(mentioned);
        if (option.letter)
          CHECK(text.find(fmt::format("  -{}, --{}", option.letter, option.name)) != text.npos);
        if (!default_text(option).empty())
          CHECK(text.find(fmt::format("{})\n", default_text(option))) != text.npos);
      }
      if (!option.on_command_line()) CHECK_FALSE(mentioned);
    }
  }
}

TEST_CASE("help: the program's text lists every command") {
  const std::string text = help_text("");
  for (const char* command : {"run", "exec", "rules", "who", "ca", "config", "cleanup"})
    CHECK(text.find(fmt::format("\n  {:10}", command)) != text.npos);
  CHECK(help_text("help") == text);
}

TEST_CASE("help: no line is wider than 120 columns or ends in a space") {
  for (const char* command : {"", "run", "exec", "rules", "who", "ca", "config", "cleanup"}) {
    const std::string text = help_text(command);
    for (std::size_t begin = 0; begin < text.size();) {
      const auto end = text.find('\n', begin);
      REQUIRE(end != text.npos);
      const auto line = text.substr(begin, end - begin);
      CAPTURE(line);
      CHECK(line.size() <= 120);
      CHECK_FALSE(line.ends_with(' '));
      begin = end + 1;
    }
  }
}

TEST_CASE("options: the table is sound") {
  for (const Option& option : option_table()) {
    CAPTURE(option.name);
    for (const Option& other : option_table()) {
      if (&other == &option) continue;
      // One name for several commands, each of which has one entry; the tokeniser needs no command.
      const bool same = other.name == option.name;
      if (option.letter) CHECK((other.letter == option.letter) == same);
      if (!same) continue;
      CHECK(other.is_flag() == option.is_flag());
      for_each_part(option.commands, ' ', [&](auto command) { CHECK(!knows(command, other)); });
    }
    CHECK(option.letter != 'h');
    CHECK(option.letter != 'V');
    CHECK((option.is_flag() || option.type.kind == Kind::objects || !option.argument.empty()));
    CHECK_FALSE(option.help.ends_with('.'));
  }
}

TEST_CASE("options: a member holds the whole range of its option, and gives it back") {
  for (const Option& option : option_table()) {
    CAPTURE(option.name);
    std::vector<json> values;
    if (option.is_flag()) values = {true, false};
    for (const auto choice : option.type.choices) values.emplace_back(std::string(choice));
    if (option.type.kind == Kind::number) values = {option.type.smallest, option.type.largest};
    for (const json& value : values) {
      CAPTURE(value.dump());
      Settings settings, copy;
      REQUIRE(set_option(option, value, settings));
      CHECK(option.type.render(settings) == value);
      option.type.copy(settings, copy);
      CHECK(option.type.render(copy) == value);
    }
  }
}

TEST_CASE("options: every default is a value that the option takes") {
  for (const Option& option : option_table()) {
    CAPTURE(option.name);
    const json value = default_of(option);
    Settings settings;
    if (value.is_null()) continue;
    REQUIRE(set_option(option, value, settings));
    CHECK(option.type.render(settings) == value);
  }
}

}  // namespace mitm::cli
