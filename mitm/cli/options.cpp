// The table, and what can be said of a single value.
#include "mitm/cli/options.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/network.h"
#include "divert/policy/program_filter.h"
#include "mitm/cli/client_certs.h"
#include "mitm/cli/policy_options.h"
#include "mitm/cli/values.h"
#include "mitm/proxy/url.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/hello_mimicry.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

template <class Parsed>
Result<> outcome(const Result<Parsed>& parsed) {
  if (!parsed) return parsed.error();
  return {};
}

Result<> check_ports(const json& value) {
  return outcome(parse_ports(value));
}
Result<> check_networks(const json& value) {
  return outcome(parse_networks(value));
}
Result<> check_size(const json& value) {
  return outcome(parse_size(value.get<std::string>()));
}
Result<> check_duration(const json& value) {
  return outcome(parse_duration(value.get<std::string>()));
}
Result<> check_upstream(const json& value) {
  return outcome(proxy::parse_upstream(value.get<std::string>()));
}
Result<> check_mark(const json& value) {
  return outcome(parse_mark(value.get<std::string>()));
}
Result<> check_filter(const json& value) {
  return outcome(divert::ProgramFilter::parse(value.get<std::string>()));
}
Result<> check_ciphers(const json& value) {
  const auto& list = value.get_ref<const std::string&>();
  if (list.empty()) return {};
  const tls::SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  if (!context) return tls::openssl_error("cannot set up TLS");
  return tls::offer_ciphers(list, context.get());
}
Result<> check_client_certs(const json& value) {
  return outcome(parse_client_certs(value));
}
Result<> check_hosts(const json& value) {
  return outcome(parse_hosts(value));
}
Result<> check_client_cert(const json& value) {
  for (const auto& one : value) {
    if (const auto parsed = parse_client_cert_option(one.get<std::string>()); !parsed)
      return parsed.error();
  }
  return {};
}
Result<> check_rules(const json& value) {
  return outcome(parse_rules(value));
}

Result<> check_range(const Option& option, const json& value) {
  const bool fits = !value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX;
  if (fits && value.get<long long>() >= option.smallest && value.get<long long>() <= option.largest)
    return {};
  return failure("expected a number from {} to {}, found {}", option.smallest, option.largest,
                 describe_value(value));
}

constexpr std::string_view kRun = "run exec";
constexpr std::string_view kRules = "run exec rules";

// name, letter, kind, value, help, default, commands, choices, check, command line, config, range
// of a number
constexpr std::array kTable{
    Option{"config", 'c', Kind::text, "FILE",
           "read options from FILE (default: ~/.config/osproxy/config.json, if it exists)", "",
           "run exec rules who ca config doctor", "", nullptr, true, false},
    Option{"filter", 0, Kind::text, "FILTER", "which programs to intercept; empty: every program",
           "", "run", "", check_filter, false, true},
    Option{"rules", 0, Kind::objects, "",
           "list of rules: process, host, port, network, "
           "user, action, upstream; the first that holds wins",
           "", "run exec", "", check_rules, false, true},
    Option{"pass", 0, Kind::list, "HOSTS",
           "let connections to these hosts pass undecrypted: names, *.example.org for all names "
           "below, addresses; commas or several --pass for more",
           "", kRun, "", check_hosts, true, true},
    Option{"block", 0, Kind::list, "HOSTS", "refuse connections to these hosts", "", kRun, "",
           check_hosts, true, true},
    Option{"only", 0, Kind::list, "HOSTS",
           "decrypt connections to these hosts only; what no rule of the file decides about passes",
           "", kRun, "", check_hosts, true, true},
    Option{"wait-for", 0, Kind::flag, "",
           "start although FILTER names no program or user that exists: it is waited for", "",
           "run", "", nullptr, true, true},
    Option{"allow-untrusted", 0, Kind::flag, "",
           "start although no trust store has osproxy's CA: programs that were not given it in "
           "another way will fail",
           "", "run", "", nullptr, true, true},
    Option{"ports", 'p', Kind::list, "PORTS",
           "TCP ports to divert: numbers, ranges (8000-8100) or all (default: all; with the "
           "redirect engine 80,443,8000,8080,8443)",
           "", kRules, "", check_ports, true, true, 1, 65535},
    Option{"exclude", 'x', Kind::list, "NETWORKS",
           "leave connections to these networks alone, for example 10.0.0.0/8,fe80::/10", "",
           kRules, "", check_networks, true, true},
    Option{"family", 0, Kind::text, "FAMILY", "address families to divert", "both", kRules,
           "both|ipv4|ipv6", nullptr, true, true},
    Option{"loopback", 0, Kind::flag, "",
           "divert connections to this machine's own addresses as well", "", kRules, "", nullptr,
           true, true},
    Option{"group", 0, Kind::number, "GID",
           "group number of osproxy's own connections (default: a free one is chosen)", "", kRules,
           "", nullptr, true, true, 1, 4294967294},
    Option{"listen-port", 0, Kind::number, "PORT",
           "port of the loopback listeners (default: 28531, or a free one)", "", kRules, "",
           nullptr, true, true, 1, 65535},
    Option{"engine", 0, Kind::text, "ENGINE",
           "how connections are diverted: packet decides before they are made, redirect after; "
           "auto takes packet where the kernel can",
           "auto", kRules, "auto|packet|redirect", nullptr, true, true},
    Option{"mark", 0, Kind::text, "BIT", "bit of the packet mark that the packet engine sets",
           "0x10000000", "run exec rules doctor", "", check_mark, true, true, 1, 4294967295},
    Option{"quic", 0, Kind::text, "ACTION",
           "QUIC of intercepted programs (packet engine, pf): block makes them fall back to TCP",
           "block", kRules, "block|allow", nullptr, true, true},
    Option{"dialect", 0, Kind::text, "DIALECT",
           "packet filter to write for: nftables, or "
           "the pf of another system (default: this system's)",
           "", "rules", "nft|darwin|freebsd|openbsd", nullptr, true, false},
    Option{"exec-group", 0, Kind::number, "GID",
           "pf: divert only what is connected with this effective group number, as exec does", "",
           "rules", "", nullptr, true, false, 1, 4294967294},
    Option{"into", 0, Kind::text, "FILE",
           "pf: print FILE, a main ruleset, with the lines that bring in osproxy's anchor", "",
           "rules", "", nullptr, true, false},
    Option{"out-of", 0, Kind::text, "FILE",
           "pf: print FILE without the lines that --into put there", "", "rules", "", nullptr, true,
           false},
    Option{"mode", 'm', Kind::text, "MODE",
           "mitmproxy's way to say it: osproxy, osproxy:FILTER, local or local:FILTER", "", "run",
           "", nullptr, true, false},
    Option{"ui", 0, Kind::text, "UI", "how flows are shown", "dump", "run", "dump", nullptr, true,
           true},
    Option{"format", 'f', Kind::text, "FORMAT", "text for people or one JSON object a line", "text",
           "run exec who doctor", "text|jsonl", nullptr, true, true},
    Option{"output", 'o', Kind::text, "FILE",
           "write flows to FILE (what was in it is "
           "lost) instead of the terminal; - is standard output",
           "", kRun, "", nullptr, true, true},
    Option{
        "detail", 'd', Kind::number, "LEVEL",
        "of text: 0 nothing, 1 a line a flow, 2 headers, 3 the first 512 bytes of bodies, 4 up to "
        "1 MiB (of bodies that are no text 816 bytes)",
        "1", kRun, "", nullptr, true, true, 0, 4},
    Option{"color", 0, Kind::text, "WHEN", "colours in text", "auto", kRun, "auto|always|never",
           nullptr, true, true},
    Option{"bodies", 'b', Kind::text, "BYTES",
           "record up to BYTES of each body and message (k, M, G)", "0", kRun, "", check_size, true,
           true, 0, kLargestSize},
    Option{"pcap", 0, Kind::text, "FILE", "write the decrypted bytes to FILE for Wireshark", "",
           kRun, "", nullptr, true, true},
    Option{"tls-min", 0, Kind::text, "VERSION", "lowest TLS version on both sides", "1.2", kRun,
           "1.0|1.1|1.2|1.3", nullptr, true, true},
    Option{
        "tls-ciphers", 0, Kind::text, "LIST",
        "ciphers offered upstream, in OpenSSL's names (default: those of the program's own hello)",
        "", kRun, "", check_ciphers, true, true},
    Option{
        "client-certs", 0, Kind::objects, "",
        "list of certificates for servers that ask for one: host, cert, key (files in PEM form); "
        "the first whose host fits is shown",
        "", "run exec", "", check_client_certs, false, true},
    Option{"keylog", 0, Kind::text, "FILE",
           "append the TLS secrets of both sides to FILE, with which Wireshark decrypts captures; "
           "default: the one that SSLKEYLOGFILE names",
           "", kRun, "", nullptr, true, true},
    Option{"client-cert", 0, Kind::list, "[HOST=]CERT[:KEY]",
           "show this certificate (PEM) to servers that ask for one; HOST (example.org, "
           "*.example.org): to these only; KEY: where it is not in CERT",
           "", kRun, "", check_client_cert, true, false},
    Option{"upstream-ca", 0, Kind::text, "FILE",
           "trust the certificates in FILE (PEM) upstream, beside the system's", "", kRun, "",
           nullptr, true, true},
    Option{"upstream-ca-only", 0, Kind::text, "FILE",
           "trust the certificates in FILE (PEM) upstream, and not the system's", "", kRun, "",
           nullptr, true, true},
    Option{"error-page", 0, Kind::text, "WHO",
           "who gets a page with status 502 when TLS "
           "with the server fails; the others get a TLS alert",
           "browsers", kRun, "browsers|always|never", nullptr, true, true},
    Option{"upstream-proxy", 0, Kind::text, "URL",
           "connect intercepted programs to their servers through a proxy: http, https, socks5 or "
           "socks5h (which is told names) ://[USER:PASSWORD@]HOST:PORT, or direct",
           "", kRun, "", check_upstream, true, true},
    Option{"insecure", 'k', Kind::flag, "", "do not verify upstream certificates", "", kRun, "",
           nullptr, true, true},
    Option{"passthrough-ttl", 0, Kind::text, "TIME",
           "how long a program passes to a host for which it has refused osproxy's certificate "
           "(30s, 10m, 2h; a plain number is seconds); 0: never",
           "10m", kRun, "", check_duration, true, true, 0, kLongestTime.count()},
    Option{"passthrough-after", 0, Kind::number, "N", "refusals in a row after which it passes",
           "3", kRun, "", nullptr, true, true, 1, 1000},
    Option{"threads", 0, Kind::number, "N", "worker threads (default: one per core)", "", kRun, "",
           nullptr, true, true, 1, 64},
    Option{"ca-dir", 0, Kind::text, "DIR", "where osproxy's CA lives", tls::kStateDirectory,
           "run exec ca doctor", "", nullptr, true, false},
    Option{"forget", 0, Kind::text, "ITEM",
           "intercept again what has learned to pass: a host, a program's path or all", "",
           "learned", "", nullptr, true, false},
    Option{"wait", 'w', Kind::flag, "", "stay until every descendant of CMD has ended", "", "exec",
           "", nullptr, true, true},
};

std::string_view kind_text(const Option& option) {
  switch (option.kind) {
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
  switch (option.kind) {
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

bool is_choice(std::string_view choices, std::string_view word) {
  while (!choices.empty()) {
    const auto bar = std::min(choices.find('|'), choices.size());
    if (choices.substr(0, bar) == word) return true;
    choices.remove_prefix(std::min(bar + 1, choices.size()));
  }
  return false;
}

/// A string as all messages quote what was typed.
std::string quoted(const json& value) {
  const std::string text = describe_value(value);
  return text.starts_with('"') ? fmt::format("'{}'", value.get_ref<const std::string&>()) : text;
}

}  // namespace

std::span<const Option> option_table() {
  return kTable;
}

const Option* find_option(std::string_view name) {
  const auto found = std::ranges::find(kTable, name, &Option::name);
  return found == kTable.end() ? nullptr : &*found;
}

std::vector<std::string_view> cli_only_options() {
  std::vector<std::string_view> names;
  for (const Option& option : kTable) {
    if (!option.in_config) names.push_back(option.name);
  }
  return names;
}

std::vector<std::string_view> config_only_options() {
  std::vector<std::string_view> names;
  for (const Option& option : kTable) {
    if (!option.on_command_line) names.push_back(option.name);
  }
  return names;
}

bool knows(std::string_view command, const Option& option) {
  for (auto rest = option.commands; !rest.empty();) {
    const auto space = std::min(rest.find(' '), rest.size());
    if (rest.substr(0, space) == command) return true;
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  return false;
}

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

Result<> check_value(const Option& option, const json& value) {
  if (!is_of_kind(option, value))
    return failure("expected {}, found {}", kind_text(option), describe_value(value));
  if (!option.choices.empty() && !is_choice(option.choices, value.get_ref<const std::string&>())) {
    return failure("expected {}, found {}", option.choices, quoted(value));
  }
  if (option.kind == Kind::number) return check_range(option, value);
  return option.check ? option.check(as_text(option, value)) : Result<>{};
}

}  // namespace mitm::cli
