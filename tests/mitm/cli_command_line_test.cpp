#include "mitm/cli/command_line.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

base::Result<Invocation> parse(const Words& words) {
  std::vector<const char*> argv;
  for (const auto& word : words) argv.push_back(word.c_str());
  return parse_command_line(argv);
}

/// The options that were typed, as the config file would have them.
json options_of(const Invocation& invocation) {
  json options = json::object();
  for (const Option* option : invocation.given)
    options[std::string(option->name)] = option->type.render(invocation.typed);
  return options;
}

std::string error_of(const Words& words) {
  const auto invocation = parse(words);
  return invocation ? "no error" : invocation.error().text;
}

}  // namespace

TEST_CASE("command_line: commands, words and options") {
  struct Case {
    Words typed;
    std::string command;
    Words positional;
    json options;
  };
  const json none = json::object();
  const Case cases[] = {
      {{}, "run", {}, none},
      {{"curl"}, "run", {"curl"}, none},
      {{"run"}, "run", {}, none},
      {{"run", "curl"}, "run", {"curl"}, none},
      {{"curl,!/usr/bin/wget"}, "run", {"curl,!/usr/bin/wget"}, none},
      // A filter that is a command's name.
      {{"run", "who"}, "run", {"who"}, none},
      {{"run", "run"}, "run", {"run"}, none},
      {{"run", "-k", "who"}, "run", {"who"}, {{"insecure", true}}},
      {{"-k", "run", "who"}, "run", {"who"}, {{"insecure", true}}},
      {{"--", "who"}, "run", {"who"}, none},
      {{"run", "--", "-k"}, "run", {"-k"}, none},
      // Options before and after, in every spelling.
      {{"-d", "2", "curl"}, "run", {"curl"}, {{"detail", 2}}},
      {{"-d2", "curl"}, "run", {"curl"}, {{"detail", 2}}},
      {{"curl", "-d", "2"}, "run", {"curl"}, {{"detail", 2}}},
      {{"--detail", "2", "curl"}, "run", {"curl"}, {{"detail", 2}}},
      {{"--detail=2", "curl"}, "run", {"curl"}, {{"detail", 2}}},
      {{"-kd2", "curl"}, "run", {"curl"}, {{"detail", 2}, {"insecure", true}}},
      {{"-kd", "2", "curl"}, "run", {"curl"}, {{"detail", 2}, {"insecure", true}}},
      {{"-kd", "2", "exec", "ls"}, "exec", {"ls"}, {{"detail", 2}, {"insecure", true}}},
      {{"--config", "who", "run"}, "run", {}, {{"config", "who"}}},
      {{"-c", "exec"}, "run", {}, {{"config", "exec"}}},
      {{"config", "check", "a.json"}, "config", {"check"}, {{"config", "a.json"}}},
      {{"config", "show", "-c", "a.json"}, "config", {"show"}, {{"config", "a.json"}}},
      {{"-f", "jsonl", "who", ":443"}, "who", {":443"}, {{"format", "jsonl"}}},
      {{"who", ":443", "-f", "jsonl"}, "who", {":443"}, {{"format", "jsonl"}}},
      // The last value wins; lists add up.
      {{"-d", "1", "-d", "3"}, "run", {}, {{"detail", 3}}},
      {{"-o", "a", "--output=b"}, "run", {}, {{"output", "b"}}},
      {{"-k", "-k"}, "run", {}, {{"insecure", true}}},
      {{"-p", "80", "-p", "443,8000-8100"}, "run", {}, {{"ports", {"80", "443", "8000-8100"}}}},
      {{"-x", "10.0.0.0/8", "rules", "-x", "::1"},
       "rules",
       {},
       {{"exclude", {"10.0.0.0/8", "::1"}}}},
      // Values that are odd.
      {{"-o", "-"}, "run", {}, {{"output", "-"}}},
      {{"-o-"}, "run", {}, {{"output", "-"}}},
      {{"--output=-x"}, "run", {}, {{"output", "-x"}}},
      {{"--output=--detail"}, "run", {}, {{"output", "--detail"}}},
      {{"-o", "-x y"}, "run", {}, {{"output", "-x y"}}},
      {{"--output", ""}, "run", {}, {{"output", ""}}},
      {{"--output=a=b"}, "run", {}, {{"output", "a=b"}}},
      {{"--output", "a b"}, "run", {}, {{"output", "a b"}}},
      // As mitmproxy's users type it.
      {{"--mode", "osproxy:curl"}, "run", {"curl"}, {{"mode", "osproxy:curl"}}},
      {{"--mode", "local:curl,!wget"}, "run", {"curl,!wget"}, {{"mode", "local:curl,!wget"}}},
      {{"--mode=local:user:ann"}, "run", {"user:ann"}, {{"mode", "local:user:ann"}}},
      {{"-m", "local"}, "run", {}, {{"mode", "local"}}},
      {{"-m", "osproxy", "curl"}, "run", {"curl"}, {{"mode", "osproxy"}}},
      // Everything behind exec's first plain word is CMD's.
      {{"exec", "--", "curl", "-k", "--help"}, "exec", {"curl", "-k", "--help"}, none},
      {{"exec", "curl", "-k", "--", "x"}, "exec", {"curl", "-k", "--", "x"}, none},
      {{"exec", "--", "--", "x"}, "exec", {"--", "x"}, none},
      {{"exec", "--", "-k"}, "exec", {"-k"}, none},
      {{"exec", "--", "", "\xff"}, "exec", {"", "\xff"}, none},
      {{"exec", "-k", "--", "exec", "-k"}, "exec", {"exec", "-k"}, {{"insecure", true}}},
      {{"-d", "2", "exec", "-w", "run"}, "exec", {"run"}, {{"detail", 2}, {"wait", true}}},
      {{"exec", "-d2", "-o", "flows", "--", "sh", "-c", "a; b"},
       "exec",
       {"sh", "-c", "a; b"},
       {{"detail", 2}, {"output", "flows"}}},
      {{"who"}, "who", {}, none},
      {{"rules", "--ports", "all"}, "rules", {}, {{"ports", {"all"}}}},
      {{"ca", "export"}, "ca", {"export"}, none},
      {{"ca", "--ca-dir", "/x", "show"}, "ca", {"show"}, {{"ca-dir", "/x"}}},
      {{"config", "check", "-c", "f"}, "config", {"check"}, {{"config", "f"}}},
      {{"cleanup"}, "cleanup", {}, none},
  };
  for (const auto& [typed, command, positional, options] : cases) {
    CAPTURE(fmt::format("osproxy {}", fmt::join(typed, " ")));
    const auto invocation = parse(typed);
    REQUIRE_MESSAGE(invocation.has_value(), error_of(typed));
    CHECK(invocation->command == command);
    CHECK(invocation->positional == positional);
    CHECK(options_of(*invocation) == options);
    CHECK(invocation->argv == typed);
    CHECK_FALSE(invocation->help);
    CHECK_FALSE(invocation->version);
  }
}

TEST_CASE("command_line: help and version") {
  struct Case {
    Words typed;
    bool help, version;
    std::string topic;
  };
  const Case cases[] = {
      {{"--help"}, true, false, ""},
      {{"-h"}, true, false, ""},
      {{"help"}, true, false, ""},
      {{"help", "exec"}, true, false, "exec"},
      {{"exec", "--help"}, true, false, "exec"},
      {{"exec", "-h"}, true, false, "exec"},
      {{"--help", "exec"}, true, false, "exec"},
      {{"exec", "--help", "--", "curl"}, true, false, "exec"},
      {{"ca", "--help"}, true, false, "ca"},
      {{"run", "-d", "2", "--help"}, true, false, "run"},
      {{"--version"}, false, true, ""},
      {{"-V"}, false, true, ""},
      {{"who", "--version"}, false, true, "who"},
  };
  for (const auto& [typed, help, version, topic] : cases) {
    CAPTURE(fmt::format("osproxy {}", fmt::join(typed, " ")));
    const auto invocation = parse(typed);
    REQUIRE_MESSAGE(invocation.has_value(), error_of(typed));
    CHECK(invocation->help == help);
    CHECK(invocation->version == version);
    CHECK(invocation->help_topic == topic);
  }
}

TEST_CASE("command_line: errors say what was expected") {
  struct Case {
    Words typed;
    std::string error;
  };
  const Case cases[] = {
      {{"--detial", "2"}, "unknown option --detial; did you mean --detail? See osproxy run --help"},
      {{"--detial=2"}, "unknown option --detial; did you mean --detail? See osproxy run --help"},
      {{"who", "--formt", "text"},
       "unknown option --formt; did you mean --format? See osproxy who --help"},
      {{"--zzzzzz"}, "unknown option --zzzzzz; see osproxy run --help"},
      {{"exec", "-Z", "--", "ls"}, "unknown option -Z; see osproxy exec --help"},
      {{"exec", "-w", "out.flow", "--", "curl"},
       "-w takes no value, so 'out.flow' would be the command; write osproxy exec [options] -- "
       "CMD [ARG ...] (flows go to a file with -o FILE)"},
      {{"exec", "--insecure", "x", "-y", "--", "curl"},
       "--insecure takes no value, so 'x' would be the command; write osproxy exec [options] -- "
       "CMD [ARG ...] (flows go to a file with -o FILE)"},
      {{"exec", "-r", "in.flow", "--", "curl"},
       "unknown option -r: flows cannot be read back yet; -f jsonl -o FILE records them; see "
       "osproxy exec --help"},
      {{"exec", "--cacert", "ca.pem", "--", "curl"},
       "unknown option --cacert: --upstream-ca FILE trusts a CA of the servers; see osproxy exec "
       "--help"},
      {{"exec", "-v", "--", "curl"},
       "unknown option -v: -d 2 shows headers; see osproxy exec --help"},
      {{"curl", "-s", "https://example.org/"},
       "unknown option -s; to run a command and intercept it: osproxy exec -- curl -s "
       "https://example.org/; else see osproxy run --help"},
      {{"run", "curl", "-ksS"},
       "unknown option -s; to run a command and intercept it: osproxy exec -- curl -ksS; else see "
       "osproxy run --help"},
      {{"-s", "x.py", "curl"},
       "unknown option -s: there are no scripts yet; see osproxy run --help"},
      {{"curl", "--detial", "2"},
       "unknown option --detial; did you mean --detail? See osproxy run --help"},
      {{"--plain", "x"}, "unknown option --plain; see osproxy run --help"},
      {{"--filter", "curl"},
       "--filter is a key of the config file, not "
       "an option; the filter is a plain word: osproxy run FILTER"},
      {{"--rules=x"}, "--rules is a key of the config file, not an option"},
      {{"--detail"}, "--detail needs a value: LEVEL; see osproxy run --help"},
      {{"-d"}, "--detail needs a value: LEVEL; see osproxy run --help"},
      {{"-o", "--detail", "2"}, "--output needs a value: FILE; see osproxy run --help"},
      {{"-o", "-k"}, "--output needs a value: FILE; see osproxy run --help"},
      {{"--format="}, "--format needs a value: text|jsonl; see osproxy run --help"},
      {{"--insecure=yes"}, "--insecure takes no value; see osproxy run --help"},
      {{"curl", "--help"}, "unknown command 'curl'; osproxy --help lists the commands"},
      {{"qery", "--help"},
       "unknown command 'qery'; did you mean query?; osproxy --help lists the commands"},
      {{"query", "a", "b", "c"},
       "query takes FILE and FILTER, found 3 words; quote the filter: 'b c'"},
      {{"export", "a", "b"}, "export needs OUT behind -o; perhaps: osproxy export a -o b"},
      {{"open"}, "open needs a file: osproxy open FILE ...; a session is made by --save"},
      {{"sessions"}, "sessions needs a word: one of list, rm, compact"},
      {{"sessions", "rm"},
       "sessions rm needs a session: osproxy sessions rm SESSION ...; osproxy sessions list shows "
       "them"},
      {{"rules", "--detail", "2"},
       "--detail does not go with 'rules'; it goes with: run, exec, open, query, "
       "export"},
      {{"exec", "-m", "local", "--", "ls"}, "--mode does not go with 'exec'; it goes with: run"},
      {{"query", "s.osp", "-o", "x.har"},
       "--output does not go with 'query'; it goes with: run, exec, export"},
      {{"--wait"}, "--wait does not go with 'run'; it goes with: exec"},
      {{"cleanup", "-k"}, "--insecure does not go with 'cleanup'; it goes with: run, exec"},
      {{"-d", "x"}, "--detail: expected a whole number, found 'x'"},
      {{"-d", "2x"}, "--detail: expected a whole number, found '2x'"},
      {{"-d", "-1"}, "--detail: expected a number from 0 to 4, found -1"},
      {{"-d5"}, "--detail: expected a number from 0 to 4, found 5"},
      {{"-d", "99999999999999999999"},
       "--detail: expected a whole number, found '99999999999999999999'"},
      {{"--threads", "0"}, "--threads: expected a number from 1 to 64, found 0"},
      {{"--listen-port", "65536"}, "--listen-port: expected a number from 1 to 65535, found 65536"},
      {{"--group", "0"}, "--group: expected a number from 1 to 4294967294, found 0"},
      {{"-f", "xml"}, "--format: expected text|jsonl, found 'xml'"},
      {{"--tls-min", "1.4"}, "--tls-min: expected 1.0|1.1|1.2|1.3, found '1.4'"},
      {{"-p", "http"},
       "--ports: 'http' is not a port or a range of ports; expected for example 443 or 8000-8100"},
      {{"-p", "443,0"},
       "--ports: '0' is not a port or a range of ports; expected for example 443 or 8000-8100"},
      {{"-p", "80,,443"},
       "--ports: '' is not a port or a range of ports; expected for example 443 or 8000-8100"},
      {{"-p", "all,80"}, "--ports: expected all, or ports and ranges of ports, found both"},
      {{"-p", "80", "-p", "all"},
       "--ports: expected all, or ports and ranges of ports, found both"},
      {{"-p", ""}, "--ports: expected ports, ranges of ports or all"},
      {{"-x", "10.0.0.1/8"},
       "--exclude: '10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"},
      {{"-x", "::1,x"},
       "--exclude: 'x' is not a network; expected for example 10.0.0.0/8, fe80::/10 or 192.0.2.1"},
      {{"-b", "lots"},
       "--bodies: expected a number of bytes such as 4096, 64k or 10M, found 'lots'"},
      {{"curl", "https://example.org/"},
       "run takes one FILTER, found 2 words; to run a command and intercept it: osproxy exec -- "
       "curl https://example.org/"},
      {{"https://example.org/"},
       "'https://example.org/' is a URL, and FILTER names programs; to see what a program gets "
       "from there: osproxy exec -- curl https://example.org/"},
      {{"config", "check", "a.json", "b.json"}, "config check takes no further words"},
      {{"config", "check", "a.json", "-c", "b.json"}, "config check takes no further words"},
      {{"exce", "--", "ls"}, "run takes one FILTER, found 2 words; did you mean exec?"},
      {{"confg", "check"}, "run takes one FILTER, found 2 words; did you mean config?"},
      {{"-m", "regular"},
       "--mode: expected osproxy, osproxy:FILTER, local or local:FILTER, found 'regular'"},
      {{"-m", "socks5:x"},
       "--mode: expected osproxy, osproxy:FILTER, local or local:FILTER, found 'socks5:x'"},
      {{""}, "the FILTER is empty; leave it out to intercept every program"},
      {{"run", "", "-k"}, "the FILTER is empty; leave it out to intercept every program"},
      {{"-m", "local:"}, "the FILTER is empty; leave it out to intercept every program"},
      {{"-m", "local", ""}, "the FILTER is empty; leave it out to intercept every program"},
      {{"-m", "local:a", "b"}, "the filter is given twice: 'b' and --mode local:a"},
      {{"exec"}, "exec needs a command: osproxy exec -- CMD [ARG ...]"},
      {{"exec", "-k", "--"}, "exec needs a command: osproxy exec -- CMD [ARG ...]"},
      {{"who", ":1", ":2"}, "who takes one WHAT, found ':2'"},
      {{"rules", "curl"}, "rules takes no words, found 'curl'"},
      {{"cleanup", "x"}, "cleanup takes no words, found 'x'"},
      {{"ca"}, "ca needs a word: one of create, show, export, install, uninstall, status"},
      {{"ca", "instal"},
       "unknown word 'instal' for ca; did you mean install? Expected one of create, show, "
       "export, install, uninstall, status"},
      {{"ca", "show", "x"}, "ca show takes no further words"},
      {{"config", "edit"}, "unknown word 'edit' for config; expected one of check, show"},
      {{"help", "nothing"}, "no help for 'nothing'; osproxy --help lists the commands"},
  };
  for (const auto& [typed, error] : cases) {
    CAPTURE(fmt::format("osproxy {}", fmt::join(typed, " ")));
    CHECK(error_of(typed) == error);
  }
}

}  // namespace mitm::cli
