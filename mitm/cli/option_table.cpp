// The table. An option is one entry here, one member of Settings and the place that uses it.
#include <array>

#include "mitm/cli/client_certs.h"
#include "mitm/cli/filter_text.h"
#include "mitm/cli/message_rules.h"
#include "mitm/cli/option_choices.h"
#include "mitm/cli/option_types.h"
#include "mitm/cli/options.h"
#include "mitm/cli/policy_options.h"
#include "mitm/proxy/url.h"
#include "mitm/tls/hello_mimicry.h"

namespace mitm::cli {
namespace {

using namespace option_choices;
using namespace option_types;
using base::Result;
using nlohmann::json;

Result<divert::ProgramFilter> parse_filter(const json& value) {
  return divert::ProgramFilter::parse(value.get_ref<const std::string&>());
}
json render_filter(const divert::ProgramFilter& filter) {
  return filter.text();
}

/// The text as it is: only the worker knows what it means.
Result<std::string> parse_upstream_proxy(const json& value) {
  const auto& url = value.get_ref<const std::string&>();
  if (const auto parsed = proxy::parse_upstream(url); !parsed) return parsed.error();
  return url;
}

Result<store::Limits> parse_keep(const json& value) {
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty()) return store::Limits{};
  return store::parse_limits(text);
}
json render_keep(const store::Limits& limits) {
  return store::to_string(limits);
}

Result<> check_view(const json& value) {
  const auto& text = value.get_ref<const std::string&>();
  const auto filter = query::Filter::parse(text);
  if (!filter) return marked_problem(text, filter.error());
  return {};
}

/// `rules` has two kinds of them.
constexpr ValueType rule_lists() {
  ValueType type;
  type.kind = Kind::objects;
  type.parse = parse_rules;
  type.render = render_rules;
  type.copy = [](const Settings& from, Settings& to) {
    to.rules = from.rules;
    to.message_rules = from.message_rules;
  };
  return type;
}

Result<std::vector<std::string>> parse_specs(const json& value) {
  if (value.is_string()) return std::vector<std::string>{value.get<std::string>()};
  return value.get<std::vector<std::string>>();
}

/// What mitmproxy writes as one string with separators. No file is looked at here.
template <auto member, auto check>
constexpr ValueType specs() {
  return for_loader(checked(
      value_type<member, parse_specs, write_plain<std::vector<std::string>>>(Kind::list), check));
}

Result<> check_ciphers(const json& value) {
  const auto& list = value.get_ref<const std::string&>();
  if (list.empty()) return {};
  const tls::SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  if (!context) return tls::openssl_error("cannot set up TLS");
  return tls::offer_ciphers(list, context.get());
}

constexpr std::string_view kRun = "run exec";
constexpr std::string_view kShown = "run exec open query export";
constexpr std::string_view kWritten = "query export";
constexpr std::string_view kRules = "run exec rules";

constexpr std::array kTable{
    Option{.name = "config",
           .letter = 'c',
           .argument = "FILE",
           .help = "read options from FILE (default: ~/.config/osproxy/config.json, if it exists)",
           .commands = "run exec rules who ca config doctor",
           .source = Source::command_line,
           .type = text<&Settings::config>()},
    Option{
        .name = "filter",
        .argument = "FILTER",
        .help = "which programs to intercept; empty: every program",
        .commands = "run",
        .source = Source::config,
        .type = for_loader(value_type<&Settings::filter, parse_filter, render_filter>(Kind::text))},
    Option{.name = "rules",
           .help =
               "list of rules. For connections: process, host, port, network, user, action, "
               "upstream; the first that matches decides. For messages: match (a filter of flows) "
               "and what is changed, such as set_header, replace_body, respond or block",
           .commands = "run exec",
           .source = Source::config,
           .type = for_loader(rule_lists())},
    Option{.name = "modify-headers",
           .argument = "SPEC",
           .help = "change header fields: [/FILTER]/NAME/[@]VALUE, whose first character is the "
                   "separator; an empty VALUE removes the field, @FILE reads it from a file",
           .commands = kRules,
           .type = specs<&Settings::modify_headers, check_modify_headers>()},
    Option{.name = "modify-body",
           .argument = "SPEC",
           .help = "replace in bodies: [/FILTER]/REGEX/[@]TEXT",
           .commands = kRules,
           .type = specs<&Settings::modify_body, check_modify_body>()},
    Option{.name = "map-local",
           .argument = "SPEC",
           .help = "answer with a file, or files below a directory: [/FILTER]/URL-REGEX/PATH",
           .commands = kRules,
           .type = specs<&Settings::map_local, check_map_local>()},
    Option{.name = "block-list",
           .argument = "SPEC",
           .help = "answer with a status and nothing else: /FILTER/STATUS; 444 resets the "
                   "connection",
           .commands = kRules,
           .type = specs<&Settings::block_list, check_block_list>()},
    Option{.name = "anticache",
           .help = "take if-none-match and if-modified-since out of requests, so that servers send "
                   "everything again",
           .commands = kRules,
           .type = for_loader(flag<&Settings::anticache>())},
    Option{.name = "anticomp",
           .help = "ask servers not to compress",
           .commands = kRules,
           .type = for_loader(flag<&Settings::anticomp>())},
    Option{.name = "stickycookie",
           .argument = "FILTER",
           .help = "add the cookies that a server has set to all requests to it that FILTER "
                   "selects",
           .commands = kRules,
           .type = for_loader(checked(text<&Settings::stickycookie>(), check_view))},
    Option{.name = "stickyauth",
           .argument = "FILTER",
           .help = "add the last credentials that a host was sent to requests to it that FILTER "
                   "selects",
           .commands = kRules,
           .type = for_loader(checked(text<&Settings::stickyauth>(), check_view))},
    Option{.name = "dry-run",
           .argument = "SESSION",
           .help = "instead: print how many flows of SESSION each rule for messages would match",
           .commands = "rules",
           .source = Source::command_line,
           .type = for_loader(text<&Settings::dry_run>())},
    Option{.name = "pass",
           .argument = "HOSTS",
           .help = "let connections to these hosts pass undecrypted: names, *.example.org for all "
                   "names below it, addresses; separate several with commas or repeat --pass",
           .commands = kRun,
           .type = hosts<&Settings::pass>()},
    Option{.name = "block",
           .argument = "HOSTS",
           .help = "refuse connections to these hosts",
           .commands = kRun,
           .type = hosts<&Settings::block>()},
    Option{.name = "only",
           .argument = "HOSTS",
           .help = "decrypt connections to these hosts only; all others pass, unless a rule of the "
                   "file decides otherwise",
           .commands = kRun,
           .type = hosts<&Settings::only>()},
    Option{.name = "wait-for",
           .help = "start even if FILTER names no program or user that exists, and wait for it",
           .commands = "run",
           .type = flag<&Settings::wait_for>()},
    Option{.name = "allow-untrusted",
           .help = "start even if no trust store has osproxy's CA: programs that were not given it "
                   "in another way will fail",
           .commands = "run",
           .type = flag<&Settings::allow_untrusted>()},
    Option{.name = "ports",
           .letter = 'p',
           .argument = "PORTS",
           .help =
               "TCP ports to divert: numbers, ranges (8000-8100) or all (default: all; with the "
               "redirect engine 80,443,8000,8080,8443)",
           .commands = kRules,
           .type = ports<&Settings::ports>()},
    Option{.name = "exclude",
           .letter = 'x',
           .argument = "NETWORKS",
           .help = "leave connections to these networks alone, for example 10.0.0.0/8,fe80::/10",
           .commands = kRules,
           .type = networks<&Settings::exclude>()},
    Option{.name = "family",
           .argument = "FAMILY",
           .help = "address families to divert",
           .commands = kRules,
           .type = choice<&Settings::family, kFamilies>()},
    Option{.name = "loopback",
           .help = "also divert connections to this machine's own addresses",
           .commands = kRules,
           .type = flag<&Settings::loopback>()},
    Option{.name = "group",
           .argument = "GID",
           .help = "group number of osproxy's own connections (default: a free one)",
           .commands = kRules,
           .type = number<&Settings::group>(1, 4294967294)},
    Option{.name = "listen-port",
           .argument = "PORT",
           .help = "port of the loopback listeners (default: 28531, or a free one)",
           .commands = kRules,
           .type = number<&Settings::listen_port>(1, 65535)},
    Option{.name = "engine",
           .argument = "ENGINE",
           .help = "how connections are diverted: packet decides before a connection is made, "
                   "redirect afterwards; auto uses packet if the kernel supports it",
           .commands = kRules,
           .type = choice<&Settings::engine, kEngines>()},
    Option{.name = "mark",
           .argument = "BIT",
           .help = "bit of the packet mark that the packet engine sets",
           .commands = "run exec rules doctor",
           .type = mark<&Settings::mark>()},
    Option{.name = "quic",
           .argument = "ACTION",
           .help =
               "QUIC of intercepted programs (packet engine, pf): block makes them fall back to "
               "TCP",
           .commands = kRules,
           .type = choice<&Settings::block_quic, kQuicActions>()},
    Option{.name = "dialect",
           .argument = "DIALECT",
           .help = "packet filter to write for: nftables, or the pf of another system (default: "
                   "this system's)",
           .commands = "rules",
           .source = Source::command_line,
           .type = choice<&Settings::dialect, kDialects>()},
    Option{.name = "exec-group",
           .argument = "GID",
           .help = "pf: divert only connections that are made with this effective group number, as "
                   "exec does",
           .commands = "rules",
           .source = Source::command_line,
           .type = number<&Settings::exec_group>(1, 4294967294)},
    Option{.name = "into",
           .argument = "FILE",
           .help = "pf: print FILE, a main ruleset, with the lines that load osproxy's anchor",
           .commands = "rules",
           .source = Source::command_line,
           .type = text<&Settings::into>()},
    Option{.name = "out-of",
           .argument = "FILE",
           .help = "pf: print FILE without the lines that --into added",
           .commands = "rules",
           .source = Source::command_line,
           .type = text<&Settings::out_of>()},
    Option{.name = "mode",
           .letter = 'm',
           .argument = "MODE",
           .help = "FILTER in mitmproxy's syntax: osproxy, osproxy:FILTER, local or local:FILTER",
           .commands = "run",
           .source = Source::command_line,
           .type = text<&Settings::mode>()},
    Option{.name = "ui",
           .argument = "UI",
           .help = "how flows are shown",
           .commands = "run",
           .type = choice<&Settings::ui, kUis>()},
    Option{.name = "format",
           .letter = 'f',
           .argument = "FORMAT",
           .help = "text for people, or one JSON object per line",
           .commands = "run exec who sessions doctor",
           .type = choice<&Settings::format, kFormats>()},
    Option{.name = "output",
           .letter = 'o',
           .argument = "FILE",
           .help = "write flows to FILE, which is overwritten, instead of the terminal; - is "
                   "standard output",
           .commands = kRun,
           .type = text<&Settings::output>()},
    Option{.name = "detail",
           .letter = 'd',
           .argument = "LEVEL",
           .help =
               "detail of the text: 0 nothing, 1 one line per flow, 2 plus headers and connections "
               "that pass, 3 plus the first 512 bytes of each body, 4 plus up to 1 MiB of each "
               "(816 bytes if it is binary)",
           .commands = kShown,
           .type = number<&Settings::detail>(0, 4)},
    Option{.name = "color",
           .argument = "WHEN",
           .help = "colours in text",
           .commands = kShown,
           .type = choice<&Settings::color, kColours>()},
    Option{.name = "starts",
           .help = "jsonl: write the start of every HTTP flow as soon as the head of its request "
                   "is there (else of those that last)",
           .commands = kRun,
           .type = flag<&Settings::starts>()},
    Option{.name = "bodies",
           .letter = 'b',
           .argument = "BYTES",
           .help = "record up to BYTES of each body and message (k, M, G)",
           .commands = "run exec query export",
           .type = size<&Settings::bodies>()},
    Option{.name = "view",
           .argument = "FILTER",
           .help =
               "show only the flows that FILTER selects, a filter of flows as of osproxy query; "
               "--save and --pcap record all",
           .commands = "run exec open",
           .type = checked(text<&Settings::view>(), check_view)},
    Option{.name = "pcap",
           .argument = "FILE",
           .help = "write the decrypted bytes to FILE for Wireshark (pcapng), with the process of "
                   "each packet; HTTP/2 is written as if its server's port were 80",
           .commands = kRun,
           .type = text<&Settings::pcap>()},
    Option{.name = "format",
           .letter = 'f',
           .argument = "FORMAT",
           .help =
               "what the flows are written as (export: default by the ending of OUT): har is HTTP "
               "Archive 1.2, mitm is mitmproxy's flow file, pcapng is for Wireshark; those from "
               "curl on send the requests again (fetch: JavaScript, python: requests; raw: their "
               "bytes, each directly behind the one before, as on a kept connection); csv is for "
               "--fields",
           .commands = kWritten,
           .source = Source::command_line,
           .type = for_loader(choice<&Settings::file_format, kFileFormats>())},
    Option{.name = "output",
           .letter = 'o',
           .argument = "OUT",
           .help = "write the flows to OUT, which must not exist; - is standard output",
           .commands = "export",
           .source = Source::command_line,
           .type = for_loader(text<&Settings::output>())},
    Option{.name = "force",
           .help = "overwrite OUT if it exists",
           .commands = "export",
           .source = Source::command_line,
           .type = for_loader(flag<&Settings::force>())},
    Option{.name = "sort",
           .argument = "BY",
           .help =
               "of a session: content_type, duration, error, host, id, mark, messages, method, "
               "process, request_size, response_size, size, status, time, type or url; downwards "
               "with a - before it (default: as they came)",
           .commands = kWritten,
           .source = Source::command_line,
           .type = for_loader(text<&Settings::sort>())},
    Option{.name = "count",
           .help = "print only how many flows match",
           .commands = "query",
           .source = Source::command_line,
           .type = for_loader(flag<&Settings::count>())},
    Option{.name = "fields",
           .argument = "FIELDS",
           .help =
               "show only these fields of each flow, separated by commas, as text, jsonl or csv; "
               "--list-fields lists them",
           .commands = kWritten,
           .source = Source::command_line,
           .type = for_loader(text<&Settings::fields>())},
    Option{.name = "follow",
           .help = "of a session: go on with flows that end from now on, until Ctrl-C or until the "
                   "run that writes it ends",
           .commands = "query",
           .source = Source::command_line,
           .type = for_loader(flag<&Settings::follow>())},
    Option{.name = "mitm-version",
           .argument = "VERSION",
           .help = "mitm: version of the flow file; 17 is for mitmproxy 8.1 and later",
           .commands = kWritten,
           .source = Source::command_line,
           .type = for_loader(choice<&Settings::mitm_version, kMitmVersions>())},
    Option{.name = "list-fields",
           .help = "list all operators and fields of filters",
           .commands = "query",
           .source = Source::command_line,
           .type = for_loader(flag<&Settings::list_fields>())},
    Option{.name = "with-secrets",
           .help = "har: write cookies, credentials and tokens as they were, not masked",
           .commands = kWritten,
           .source = Source::command_line,
           .type = for_loader(flag<&Settings::with_secrets>())},
    Option{.name = "save",
           .argument = "FILE",
           .help = "store all flows in FILE, a session for osproxy query; one that exists is "
                   "continued; auto makes one with a name from the time and the program: see "
                   "osproxy sessions",
           .commands = "run exec import",
           .type = text<&Settings::save>()},
    Option{.name = "save-bodies",
           .argument = "BYTES",
           .help = "of --save: store up to BYTES of each body and message (default: all of it)",
           .commands = kRun,
           .type = size<&Settings::save_bodies>()},
    Option{.name = "keep",
           .argument = "LIMIT",
           .help = "of --save: delete the oldest flows beyond a size (2G), an age (7d) or a number "
                   "(100000); marked ones stay",
           .commands = kRun,
           .type = value_type<&Settings::keep, parse_keep, render_keep>(Kind::text)},
    Option{.name = "tls-min",
           .argument = "VERSION",
           .help = "lowest TLS version on both sides",
           .commands = kRun,
           .type = choice<&Settings::tls_min, kTlsVersions>()},
    Option{.name = "tls-ciphers",
           .argument = "LIST",
           .help = "ciphers offered upstream, in OpenSSL's names (default: those that the program "
                   "itself offers)",
           .commands = kRun,
           .type = checked(text<&Settings::tls_ciphers>(), check_ciphers)},
    Option{
        .name = "client-certs",
        .help = "list of certificates for servers that ask for one: host, cert, key (PEM files); "
                "the first whose host matches is used",
        .commands = "run exec",
        .source = Source::config,
        .type =
            for_loader(value_type<&Settings::client_certs, parse_client_certs, render_client_certs>(
                Kind::objects))},
    Option{.name = "keylog",
           .argument = "FILE",
           .help = "append the TLS secrets of both sides to FILE, with which Wireshark decrypts "
                   "captures (default: the file that SSLKEYLOGFILE names)",
           .commands = kRun,
           .type = text<&Settings::keylog>()},
    Option{.name = "client-cert",
           .argument = "[HOST=]CERT[:KEY]",
           .help = "show this certificate (PEM) to servers that ask for one; HOST (example.org, "
                   "*.example.org): only to these; KEY: if it is not in CERT",
           .commands = kRun,
           .source = Source::command_line,
           .type = for_loader(value_type<&Settings::client_cert, parse_client_cert_options,
                                         render_client_cert_options>(Kind::list))},
    Option{.name = "upstream-ca",
           .argument = "FILE",
           .help = "trust the certificates in FILE (PEM) upstream, in addition to the system's",
           .commands = kRun,
           .type = text<&Settings::upstream_ca>()},
    Option{.name = "upstream-ca-only",
           .argument = "FILE",
           .help = "trust the certificates in FILE (PEM) upstream, instead of the system's",
           .commands = kRun,
           .type = text<&Settings::upstream_ca_only>()},
    Option{.name = "error-page",
           .argument = "WHO",
           .help = "who gets a page with status 502 if TLS with the server fails; others get a TLS "
                   "alert",
           .commands = kRun,
           .type = choice<&Settings::error_page, kErrorPages>()},
    Option{
        .name = "upstream-proxy",
        .argument = "URL",
        .help = "connect intercepted programs to their servers through a proxy: http, https, "
                "socks5 or socks5h (which resolves names) ://[USER:PASSWORD@]HOST:PORT, or "
                "direct",
        .commands = kRun,
        .type = for_loader(
            value_type<&Settings::upstream_proxy, parse_upstream_proxy, write_plain<std::string>>(
                Kind::text))},
    Option{.name = "insecure",
           .letter = 'k',
           .help = "do not verify upstream certificates",
           .commands = kRun,
           .type = flag<&Settings::insecure>()},
    Option{.name = "passthrough-ttl",
           .argument = "TIME",
           .help = "how long a program passes to a host after it has refused osproxy's certificate "
                   "(30s, 10m, 2h; a plain number is seconds); 0: never",
           .commands = kRun,
           .type = duration<&Settings::passthrough_ttl>()},
    Option{.name = "passthrough-after",
           .argument = "N",
           .help = "refusals in a row after which it passes",
           .commands = kRun,
           .type = number<&Settings::passthrough_after>(1, 1000)},
    Option{.name = "threads",
           .argument = "N",
           .help = "worker threads (default: one per core)",
           .commands = kRun,
           .type = number<&Settings::threads>(1, 64)},
    Option{.name = "ca-dir",
           .argument = "DIR",
           .help = "directory of osproxy's CA",
           .commands = "run exec ca doctor",
           .source = Source::command_line,
           .type = text<&Settings::ca_dir>()},
    Option{.name = "forget",
           .argument = "ITEM",
           .help = "intercept this again: a host, a program's path or all",
           .commands = "learned",
           .source = Source::command_line,
           .type = text<&Settings::forget>()},
    Option{.name = "wait",
           .letter = 'w',
           .help = "stay until every descendant of CMD has ended",
           .commands = "exec",
           .type = flag<&Settings::wait>()},
    Option{.name = "follow",
           .help = "show each connection as it begins, until Ctrl-C; nothing is held or decrypted",
           .commands = "who",
           .source = Source::command_line,
           .type = flag<&Settings::follow>()},
};

}  // namespace

std::span<const Option> option_table() {
  return kTable;
}

}  // namespace mitm::cli
