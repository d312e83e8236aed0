#include <cerrno>
#include <filesystem>
#include <fstream>

#include <boost/algorithm/string/replace.hpp>
#include <unistd.h>

#include "base/text.h"
#include "mitm/cli/config.h"
#include "mitm/cli/error_codes.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

using nlohmann::json;

/// A home directory that is gone at the end.
class Home {
 public:
  Home() {
    REQUIRE(::mkdtemp(path_) != nullptr);
    std::filesystem::create_directories(std::filesystem::path(config()).parent_path());
  }
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;
  ~Home() { std::filesystem::remove_all(path_); }

  [[nodiscard]] std::string path() const { return path_; }
  [[nodiscard]] std::string config() const { return path() + "/.config/osproxy/config.json"; }
  [[nodiscard]] std::string other() const { return path() + "/other.json"; }

 private:
  char path_[32] = "/tmp/osproxy-config-XXXXXX";
};

void write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// The options in force, as `config show` prints them.
base::Result<json> effective(const Home& home, const std::vector<const char*>& typed) {
  const auto invocation = parse_command_line(typed);
  REQUIRE(invocation);
  const auto settings = load_settings(*invocation, home.path());
  if (!settings) return settings.error();
  return render_config(*settings);
}

/// What is wrong with `text` as a config file, without the file's name; it is FILE in further
/// lines.
std::string error_in(const std::string& text) {
  const Home home;
  write(home.config(), text);
  const auto options = effective(home, {});
  if (options) return "no error";
  CHECK(options.error().text.starts_with(home.config() + ":"));
  std::string text_of_all = options.error().text.substr(home.config().size() + 1);
  boost::replace_all(text_of_all, "\n" + home.config(), "\nFILE");
  return text_of_all;
}

}  // namespace

TEST_CASE("config: errors name line, key and what was expected") {
  struct Case {
    std::string text, error;
  };
  const Case cases[] = {
      {R"({"ports": "443", "prots": "80"})", "1: prots: unknown key; did you mean ports?"},
      {"{\n  \"ports\": \"443\",\n  \"zzz\": 1\n}\n", "3: zzz: unknown key"},
      {R"({"mode": "local"})", "1: mode: unknown key"},
      {R"({"config": "x"})", "1: config: unknown key"},
      {R"({"$schema": 1})", "1: $schema: expected a string, found 1"},
      {R"({"": 1})", "1: : unknown key"},
      {R"({"listen_port": 1})", "1: listen_port: unknown key; did you mean listen-port?"},
      // Types.
      {R"({"insecure": "yes"})", "1: insecure: expected true or false, found \"yes\""},
      {R"({"insecure": null})", "1: insecure: expected true or false, found null"},
      {R"({"detail": "2"})", "1: detail: expected a whole number, found \"2\""},
      {R"({"detail": 2.0})", "1: detail: expected a whole number, found 2.0"},
      {R"({"output": 1})", "1: output: expected a string, found 1"},
      {R"({"ports": true})",
       "1: ports: expected a string, a whole number or a list of them, found true"},
      {R"({"ports": ["80", 4.5]})",
       "1: ports: expected a string, a whole number or a list of them, found [\"80\",4.5]"},
      {R"({"bodies": null})", "1: bodies: expected a string or a whole number, found null"},
      {R"({"exclude": 10})", "1: exclude: expected a string or a list of strings, found 10"},
      {R"({"exclude": {"a": "b"}})",
       "1: exclude: expected a string or a list of strings, found {\"a\":\"b\"}"},
      {R"({"rules": {}})", "1: rules: expected a list of objects, found {}"},
      {R"({"rules": [1]})", "1: rules: expected a list of objects, found [1]"},
      {R"({"filter": ["curl"]})", "1: filter: expected a string, found [\"curl\"]"},
      // Values.
      {R"({"format": "xml"})", "1: format: expected text|jsonl, found 'xml'"},
      {R"({"tls-min": "1.4"})", "1: tls-min: expected 1.0|1.1|1.2|1.3, found '1.4'"},
      {R"({"detail": 5})", "1: detail: expected a number from 0 to 4, found 5"},
      {R"({"detail": -1})", "1: detail: expected a number from 0 to 4, found -1"},
      {R"({"group": 4294967295})",
       "1: group: expected a number from 1 to 4294967294, found 4294967295"},
      {R"({"group": 18446744073709551615})",
       "1: group: expected a number from 1 to 4294967294, found 18446744073709551615"},
      {R"({"bodies": "many"})",
       "1: bodies: expected a number of bytes such as 4096, 64k or 10M, found 'many'"},
      {"{\n\n\"ports\":\n\"80,http\"}",
       "3: ports: 'http' is not a port or a range of ports; expected for example 443 or 8000-8100"},
      {R"({"ports": ["80", "70000"]})",
       "1: ports: '70000' is not a port or a "
       "range of ports; expected for example 443 or 8000-8100"},
      {R"({"ports": 70000})",
       "1: ports: '70000' is not a port or a "
       "range of ports; expected for example 443 or 8000-8100"},
      {R"({"ports": ["80", -1]})",
       "1: ports: '-1' is not a port or a range of ports; expected for example 443 or 8000-8100"},
      {R"({"bodies": -1})",
       "1: bodies: expected a number of bytes such as 4096, 64k or 10M, found '-1'"},
      {R"({"mark": 3})", "1: mark: expected a single bit such as 0x10000000, found '3'"},
      {R"({"ports": []})", "1: ports: expected ports, ranges of ports or all"},
      {R"({"ports": "9-1"})",
       "1: ports: '9-1' is not a port or a range of ports; expected for example 443 or 8000-8100"},
      {R"({"exclude": "10.0.0.0/33"})",
       "1: exclude: '10.0.0.0/33' is not a network; expected for example 10.0.0.0/8, fe80::/10 "
       "or 192.0.2.1"},
      {R"({"exclude": ["10.1.0.0/8"]})",
       "1: exclude: '10.1.0.0/8' has host bits set; the network is 10.0.0.0/8"},
      {"{\"detail\": 1,\r\n\"filter\": \"curl,~a(b\"}",
       "2: filter: filter 'curl,~a(b': item 2 ('~a(b') "
       "is not a regular expression: missing ): a(b"},
      {R"({"filter": "curl,,wget"})",
       "1: filter: filter 'curl,,wget': item 2 is empty; expected "
       "a program, a path, a pid or a pattern"},
      {"{\"rules\": [\n{\"action\": \"pass\"},\n{\"action\": \"pas\"}]}",
       "3: rules[1].action: expected intercept, pass or block, found \"pas\""},
      {"{\"rules\": [\n{\"action\":\n\"pass\",\n\"prot\": 1}]}",
       "4: rules[0].prot: unknown key; did you mean port?"},
      {"{\"rules\": [{\"action\": \"pass\"},\n{\"port\": 1}]}",
       "2: rules[1].action: expected intercept, pass or block, found none"},
      {R"({"tls-ciphers": "HIGH:\u001b[1m"})",
       "1: tls-ciphers: OpenSSL knows no cipher \\x1b[1m; openssl ciphers -v ALL lists them"},
      {R"({"tls-ciphers": "aNULL"})", "1: tls-ciphers: no cipher is left of it: no cipher match"},
      {"{\"client-certs\": [\n{\"host\": \"a.b\"}]}",
       "2: client-certs[0].cert: expected a string, found none"},
      {"{\"client-certs\": [{\"host\": \"a.b\", \"cert\": \"c\",\n\"keys\": \"k\"}]}",
       "2: client-certs[0].keys: unknown key; did you mean key?"},
      {R"({"client-certs": "c.pem"})",
       "1: client-certs: expected a list of objects, found \"c.pem\""},
      {"{\"\\u001b[1m\": 1}", "1: \\x1b[1m: unknown key"},
      // What stands twice: at every depth.
      {"{\"detail\": 1,\n \"detail\": 2}", "2: duplicate key 'detail'"},
      {"{\"rules\": [\n {\"action\": \"pass\",\n \"action\": \"block\"}]}",
       "3: duplicate key 'action'"},
      // Not an object.
      {"[]", "1: expected an object of options, found []"},
      {"\"x\"", "1: expected an object of options, found \"x\""},
      {"\n\n1", "1: expected an object of options, found 1"},
  };
  for (const auto& [text, error] : cases) {
    CAPTURE(text);
    CHECK(error_in(text) == error);
  }
}

TEST_CASE("config: all that is wrong is said, in the order of the lines") {
  CHECK(
      error_in(
          "{\n\"zzz\": 1,\n\"detail\": \"2\",\n\"rules\": [{\"action\": \"pas\",\n"
          "\"prot\": 1, \"port\": 0},\n{\"action\": \"pass\"}, {\"action\": \"pass\", \"host\": "
          "\"a:1\"}],\n"
          "\"client-certs\": [{}], \"ports\": \"x\"}")
          .starts_with("2: zzz: unknown key\nFILE:3: detail: expected a whole number, found \"2\"\n"
                       "FILE:4: rules[0].action: expected intercept, pass or block, found \"pas\"\n"
                       "FILE:5: rules[0].prot: unknown key; did you mean port?\n"
                       "FILE:5: rules[0].port: '0' is not a port or a range of ports; expected "
                       "for example 443 or 8000-8100\n"
                       "FILE:6: rules[2].host: 'a:1' is not a host; "));
}

TEST_CASE("config: comments are skipped") {
  CHECK(error_in(
            "// why\n{\"detail\": 2, // as we like it\n/* and\nthis */ \"rules\": []}\n// end\n") ==
        "no error");
  CHECK(error_in("{// why\n/*\n*/\"zzz\": 1}") == "3: zzz: unknown key");
  CHECK(error_in("{\"output\": \"// no comment\"}") == "no error");
}

TEST_CASE("config: syntax errors name the line") {
  struct Case {
    std::string text;
    std::string start;
  };
  const Case cases[] = {
      {"", "1: syntax error while parsing value - unexpected end of input"},
      {"\n\n", "3: syntax error while parsing value - unexpected end of input"},
      {"{\n\"detail\": 2,\n}", "3: syntax error while parsing object key - unexpected '}'"},
      {"{\n\"detail\" 2}", "2: syntax error while parsing object separator"},
      {"{\n\"detail\": tru\n}", "2: syntax error while parsing value - invalid literal"},
      {"{\"a\": 1} x", "1: syntax error while parsing value - invalid literal"},
      {"{\"detail\": 2}\n{}", "2: syntax error while parsing value - unexpected '{'"},
      {"{\n/ words\n}", "2: syntax error while parsing object key - invalid comment"},
      {"{\n/* words\n}", "3: syntax error while parsing object key - invalid comment"},
      {"{\n# words\n}", "2: syntax error while parsing object key - invalid literal"},
      {"{'detail': 2}", "1: syntax error while parsing object key - invalid literal"},
      {"{\"output\": \"a\nb\"}", "1: syntax error while parsing value - invalid string"},
      {"{\"output\": \"\xff\"}", "1: syntax error while parsing value - invalid string"},
      {std::string("{\n\0}", 4), "2: expected JSON, found a NUL byte"},
  };
  for (const auto& [text, start] : cases) {
    CAPTURE(text);
    const auto error = error_in(text);
    CHECK_MESSAGE(error.starts_with(start), error);
    CHECK(base::printable(error) == error);
  }
}

TEST_CASE("config: a file cut at any byte is an error or good, never more") {
  const std::string text =
      "{\n \"ports\": [\"80\", \"443\"],\n \"rules\": [{\"host\": \"a.b\", \"action\": "
      "\"pass\"}],\n \"detail\": 2}";
  for (std::size_t length = 0; length < text.size(); ++length) {
    const auto error = error_in(text.substr(0, length));
    CAPTURE(length);
    CHECK_MESSAGE(error.find("syntax error") != error.npos, error);
  }
  CHECK(error_in(text) == "no error");
}

TEST_CASE("config: deep and large values are refused and shown in short") {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  for (const char* start : {"{\"ports\": ", "{\"$schema\": ", "{\"rules\": [{\"host\": "}) {
    CHECK(error_in(start + nested(400'000)) == "1: lists and objects are nested more than 16 deep");
  }
  CHECK(error_in(nested(17)) == "1: lists and objects are nested more than 16 deep");
  CHECK(error_in(nested(16)) == "1: expected an object of options, found a list");
  CHECK(error_in("{\"ports\": " + nested(10) + "}") ==
        "1: ports: expected a string, a whole number or a list of them, found a list");
  CHECK(error_in("{\"rules\": [{\"action\": \"pass\", \"host\": " + nested(10) + "}]}") ==
        "1: rules[0].host: expected a string or a list of strings, found a list");
  CHECK(error_in("{\"detail\": \"" + std::string(1000, 'x') + "\"}") ==
        "1: detail: expected a whole number, found a string of 1000 bytes");
  CHECK(error_in("{\"format\": \"" + std::string(1000, 'x') + "\"}") ==
        "1: format: expected text|jsonl, found a string of 1000 bytes");
  CHECK(error_in("{\"" + std::string(1000, 'x') + "\": 1}") ==
        "1: " + std::string(60, 'x') + "...: unknown key");
}

TEST_CASE("config: 1 MiB is the limit") {
  const Home home;
  const std::string object = "{\"detail\": 3}";
  write(home.config(), object + std::string((1 << 20) - object.size(), ' '));
  CHECK(effective(home, {})->at("detail") == 3);
  write(home.config(), object + std::string((1 << 20) - object.size() + 1, ' '));
  CHECK(effective(home, {}).error().text ==
        fmt::format("{} is larger than 1048576 bytes", home.config()));
  CHECK(effective(home, {"-c", home.config().c_str()}).error().text ==
        fmt::format("--config: {} is larger than 1048576 bytes", home.config()));
}

TEST_CASE("config: a file that is asked for must be there, the usual one need not") {
  const Home home;
  CHECK(effective(home, {}));
  const auto missing = effective(home, {"--config", "/no/such.json"});
  CHECK(missing.error().text == "--config: cannot read /no/such.json: No such file or directory");
  CHECK(missing.error().os_code == ENOENT);
  CHECK(effective(home, {"-c", home.path().c_str()}).error().text ==
        fmt::format("--config: cannot read {}: Is a directory", home.path()));
  std::filesystem::create_directory(home.config());
  CHECK(effective(home, {}).error().text ==
        fmt::format("cannot read {}: Is a directory", home.config()));
}

TEST_CASE("config: defaults, then the file, then the command line") {
  const Home home;
  SUBCASE("defaults alone") {
    const auto options = effective(home, {});
    CHECK_FALSE(options->contains("ports"));
    CHECK(options->at("detail") == 1);
    CHECK(options->at("insecure") == false);
    CHECK(options->at("tls-min") == "1.2");
    CHECK_FALSE(options->contains("filter"));
    CHECK_FALSE(options->contains("config"));
    CHECK_FALSE(options->contains("mode"));
    CHECK_FALSE(options->contains("output"));
  }
  write(home.config(),
        R"({"$schema": "x", "ports": ["1"], "detail": 2, "insecure": true, "filter": "wget"})");
  SUBCASE("the file wins over defaults") {
    const auto options = effective(home, {});
    CHECK(options->at("ports") == json{"1"});
    CHECK(options->at("detail") == 2);
    CHECK(options->at("insecure") == true);
    CHECK(options->at("filter") == "wget");
    CHECK(options->at("tls-min") == "1.2");
    CHECK_FALSE(options->contains("$schema"));
  }
  SUBCASE("the command line wins over the file") {
    const auto options = effective(home, {"-d4", "-p", "80", "-p", "81", "curl"});
    CHECK(options->at("detail") == 4);
    CHECK(options->at("ports") == json{"80", "81"});
    CHECK(options->at("filter") == "curl");
    CHECK(options->at("insecure") == true);
  }
  SUBCASE("an empty filter of the file's is every program") {
    write(home.other(), R"({"filter": ""})");
    CHECK_FALSE(effective(home, {"-c", home.other().c_str()})->contains("filter"));
  }
  SUBCASE("numbers stand for texts") {
    write(home.other(), R"({"ports": [443, "8000-8100"], "bodies": 65536, "passthrough-ttl": 5})");
    const auto options = effective(home, {"-c", home.other().c_str()});
    CHECK(options->at("ports") == json{"443", "8000-8100"});
    CHECK(options->at("bodies") == "64k");
    CHECK(options->at("passthrough-ttl") == "5s");
    write(home.other(), R"({"ports": 443})");
    CHECK(effective(home, {"-c", home.other().c_str()})->at("ports") == json{"443"});
  }
  SUBCASE("what is of --save is refused without it, unless the file has it for other runs") {
    for (const char* const option : {"--keep=1G", "--save-bodies=1k"}) {
      const auto refused = effective(home, {option});
      REQUIRE_FALSE(refused);
      CHECK(refused.error().text.ends_with(
          " does nothing without --save: add --save FILE, or --save auto"));
      CHECK(refused.error().os_code == kUsageError);
      CHECK(effective(home, {option, "--save", "s.osp"}));
    }
    write(home.other(), R"({"keep": "1G"})");
    CHECK(effective(home, {"-c", home.other().c_str()}));
    write(home.other(), R"({"save": "s.osp"})");
    CHECK(effective(home, {"-c", home.other().c_str(), "--keep", "1G"}));
  }
  SUBCASE("mode is a filter") {
    CHECK(effective(home, {"-m", "local:curl"})->at("filter") == "curl");
  }
  SUBCASE("mode without a filter leaves the file's") {
    const auto options = effective(home, {"-m", "local"});
    CHECK(options->at("filter") == "wget");
    CHECK_FALSE(options->contains("mode"));
  }
  SUBCASE("a file of one's own replaces the usual one") {
    write(home.other(), R"({"detail": 0})");
    const auto options = effective(home, {"-c", home.other().c_str()});
    CHECK(options->at("detail") == 0);
    CHECK_FALSE(options->contains("ports"));
    CHECK_FALSE(options->contains("filter"));
    CHECK_FALSE(options->contains("config"));
  }
}

TEST_CASE("config: a byte order mark does no harm") {
  CHECK(error_in("\xef\xbb\xbf{\"detail\": 2}") == "no error");
}

}  // namespace mitm::cli
