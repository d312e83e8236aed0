// --help: what each subcommand does in a few sentences, its options from the table, examples, exit
// codes.
#include "mitm/cli/help.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "mitm/cli/options.h"

namespace mitm::cli {
namespace {

constexpr std::size_t kWidth = 92;
constexpr std::size_t kColumn = 26;

constexpr std::string_view kFilterHelp =
    "FILTER is a comma-separated list, read from left to right; the first item's sign sets the "
    "default:\n"
    "  curl           the path of the program contains \"curl\"     !curl      everything but "
    "curl\n"
    "  =curl          its name is exactly curl                    123        the process with "
    "this id\n"
    "  /usr/bin       its path begins so (* and ? are wildcards)  ~REGEX     its path matches "
    "(RE2)\n"
    "  ITEM+          the program and all that it starts          unknown    no owner could be "
    "found\n"
    "  user:ann, group:staff, cgroup:/user.slice                  \"a,b\"      text with commas "
    "in it\n"
    "A program is called by its executable, by argv[0] (=python3 is /usr/bin/python3.11 as well) "
    "and by the script that an\n"
    "interpreter runs: npm, script.py. What an item does not match may be a child's connection: "
    "git+, npm+.\n";

constexpr std::array kPages{
    HelpPage{
        "run", "intercept the programs that FILTER selects (the default command)",
        "osproxy [run] [FILTER] [options]",
        "Diverts the TCP connections of this machine to osproxy, finds the process behind each, "
        "and intercepts those of\n"
        "the programs that FILTER selects: TLS is decrypted with osproxy's own CA, requests and "
        "responses are shown as they\n"
        "end. Everything else is passed on untouched. Without FILTER every program is "
        "intercepted. Ctrl-C ends it; the rules\n"
        "are gone then, however it ends. Programs must trust the CA: see `osproxy ca install`, "
        "or use `osproxy exec`.\n"
        "Without a trust store that has the CA, and with a FILTER that names nothing which "
        "exists, run does not start: see\n"
        "--allow-untrusted and --wait-for.\n",
        "  sudo osproxy curl                         every request that any curl makes\n"
        "  sudo osproxy '!firefox' --ports all       everything but Firefox, on every TCP port\n"
        "  sudo osproxy make+ -d 2                   what make and its children fetch, with "
        "headers\n"
        "  sudo osproxy curl --block ads.example --pass '*.bank.example'\n"
        "  sudo osproxy curl -f jsonl -o flows.jsonl --pcap flows.pcap\n"},
    HelpPage{
        "exec", "run one command and intercept it and its descendants only",
        "osproxy exec [options] -- CMD [ARG ...]",
        "Runs CMD as the user who typed sudo and intercepts it and everything it starts, and no "
        "other program. The usual\n"
        "variables (SSL_CERT_FILE, CURL_CA_BUNDLE, NODE_EXTRA_CA_CERTS, ...) make it trust "
        "osproxy's CA beside the system's:\n"
        "nothing is installed. Certificates in files that these variables name already are "
        "trusted as well. What stays\n"
        "is the directory of the CA (--ca-dir), which you may remove. Flows go to standard "
        "error, or to --output FILE;\n"
        "with --output - they have standard output for themselves, and what CMD prints goes to "
        "standard error. Standard\n"
        "input, the terminal, signals and the exit status are CMD's own: 128+n when signal n "
        "ended it, 127 when there is\n"
        "no such command.\n",
        "  sudo osproxy exec -- curl https://example.org/\n"
        "  sudo osproxy exec -f jsonl -o - -- npm ci 2>/dev/null | jq -r "
        "'select(.type==\"http\") | .url'\n"
        "  sudo osproxy exec -o flows.jsonl -f jsonl -- npm install\n"},
    HelpPage{
        "rules", "print the packet-filter rules that a run loads", "osproxy rules [options]",
        "Prints the rules that `osproxy run` loads with the same options: with nftables a table "
        "(during a run `nft list\n"
        "table inet osproxy` shows the same rules in nft's own words); for pf an anchor, whose "
        "first lines say how to load and\n"
        "how to remove it (auto prints the redirect engine's there, though a run on FreeBSD with "
        "ipdivert takes the packet\n"
        "engine: --engine packet). Changes nothing and needs no root. --into prints the main "
        "ruleset FILE with the lines that\n"
        "bring the anchor in, from boot on: while osproxy does not run, what it diverts gets "
        "nowhere then.\n",
        "  osproxy rules --ports 443 --exclude 10.0.0.0/8\n"
        "  osproxy rules --dialect darwin > osproxy.pf.conf\n"
        "  osproxy rules --dialect freebsd --into /etc/pf.conf > pf.conf.new\n"},
    HelpPage{
        "who", "which process owns a socket", "osproxy who [WHAT] [options]",
        "Shows the TCP sockets of this network namespace with the processes that own them. WHAT "
        "is a port, an address or a\n"
        "host, also with a port, at either end; or a FILTER, for the sockets of those programs. "
        "A number is a port, or, when\n"
        "no socket has it, a process. Sockets that no process has any more come last. Root sees "
        "the owners of all sockets,\n"
        "others see their own.\n",
        "  sudo osproxy who 443\n  sudo osproxy who api.example.org:443\n  sudo osproxy who "
        "=curl -f jsonl\n"},
    HelpPage{
        "ca", "create, show and install the certificate authority",
        "osproxy ca create|show|export|install|uninstall|status [options]",
        "  create     make the CA (done by the first run as well); its key stays root's\n"
        "  show       where it is, its subject, from when until when it is valid, its "
        "fingerprint\n"
        "  export     print the root certificate as PEM\n"
        "  install    make this machine trust it: system store, NSS (Firefox, Chromium) of the "
        "user who typed sudo, Java\n"
        "  uninstall  take it out of all of them again\n"
        "  status     which stores trust it\n",
        "  sudo osproxy ca install\n  osproxy ca export > osproxy-ca.pem\n"},
    HelpPage{
        "learned", "what passes because a program refused osproxy's certificate",
        "osproxy learned [--forget ITEM]",
        "A program that refuses osproxy's certificate for a host three times in a row (pinned "
        "certificates, trust of its own)\n"
        "passes to that host for ten minutes: see --passthrough-after and --passthrough-ttl of "
        "run and exec. Lists what the\n"
        "runs of this user have learned; the list of a run ends with it. With --forget, a host, "
        "a program or all are\n"
        "intercepted again, at once. A rule that names the host decides instead.\n",
        "  osproxy learned\n  osproxy learned --forget pinned.example.org\n"},
    HelpPage{
        "config", "check or show the configuration", "osproxy config check|show [options]",
        "check reads the config file as a run would and says all that is wrong with it: file, "
        "line, key, what was expected;\n"
        "files that it names to be read are read. show prints the options that result from "
        "defaults and file. The file is\n"
        "JSON, in which // and /* */ comments may stand; see conf/osproxy.json. The command line "
        "wins.\n",
        "  osproxy config check -c my.json\n"},
    HelpPage{
        "doctor", "what works on this machine, what does not, what to do",
        "osproxy doctor [options]",
        "Looks at everything that a run relies on, a line each: ok, missing, blocked, or "
        "optional (missing or blocked, but a\n"
        "run can do without), and what to do about it. With root it also proves it: rules go in "
        "for two programs of its own,\n"
        "which connect on the loopback, and out again. Others are not touched. Exit status 1 "
        "when something is in the way.\n",
        "  sudo osproxy doctor\n  sudo osproxy doctor -f jsonl\n"},
    HelpPage{
        "cleanup", "remove what an interrupted run left behind", "osproxy cleanup",
        "Runs end without leaving anything behind, killed or not; this is for the case that "
        "everything was killed at once and\n"
        "for a table that somebody loaded by hand. Safe at any time: what a live osproxy uses is "
        "left alone.\n",
        "  sudo osproxy cleanup\n"},
};

std::string spelled(const Option& option) {
  std::string text = option.letter ? fmt::format("  -{}, --{}", option.letter, option.name)
                                   : fmt::format("      --{}", option.name);
  const auto value = option.choices.empty() ? option.value_name : option.choices;
  if (!value.empty()) text += fmt::format(" {}", value);
  return text;
}

/// `text` broken into lines behind a column of `first`.
std::string in_columns(const std::string& first, std::string_view text) {
  std::string out = first;
  if (first.size() + 2 > kColumn)
    out += "\n" + std::string(kColumn, ' ');
  else
    out.append(kColumn - first.size(), ' ');
  while (text.size() > kWidth - kColumn) {
    const auto space = text.rfind(' ', kWidth - kColumn);
    out += fmt::format("{}\n{}", text.substr(0, space), std::string(kColumn, ' '));
    text.remove_prefix(space + 1);
  }
  return out + std::string(text) + "\n";
}

std::string options_text(std::string_view command) {
  std::string out;
  for (const auto& option : option_table()) {
    if (!option.on_command_line || !knows(command, option)) continue;
    const auto note = option.default_text.empty()
                          ? std::string()
                          : fmt::format(" (default: {})", option.default_text);
    out += in_columns(spelled(option), std::string(option.help) + note);
  }
  return out + in_columns("  -h, --help", "this text");
}

std::string program_text() {
  std::string out =
      "osproxy shows the traffic of chosen programs on this machine, decrypted, and touches "
      "nothing else.\n\n"
      "usage: osproxy [COMMAND] [options] ...\n\ncommands:\n";
  for (const auto& page : kPages) out += fmt::format("  {:10}{}\n", page.command, page.summary);
  out += fmt::format("\n{}\n", kFilterHelp);
  out +=
      "examples:\n"
      "  sudo osproxy exec -- curl https://example.org/    one command, nothing installed\n"
      "  sudo osproxy curl                                 every curl on this machine\n\n"
      "osproxy COMMAND --help says more; osproxy --version prints the version.\n"
      "exit status: 0 good, 1 failed, 2 wrong usage; exec: that of the command.\n";
  return out;
}

}  // namespace

std::span<const HelpPage> help_pages() {
  return kPages;
}

std::string help_text(std::string_view command) {
  const auto page = std::ranges::find(kPages, command, &HelpPage::command);
  if (page == kPages.end()) return program_text();
  std::string out = fmt::format("usage: {}\n\n{}\n", page->usage, page->text);
  if (command == "run") out += fmt::format("{}\n", kFilterHelp);
  if (command == "config") {
    out +=
        fmt::format("Every long option is a key of the file, but\n--{}.\nKeys only: {}.\n\n",
                    fmt::join(cli_only_options(), ", --"), fmt::join(config_only_options(), ", "));
  }
  out += fmt::format("options:\n{}\nexamples:\n{}", options_text(command), page->examples);
  const auto status = command == "exec" ? "CMD's own; 1 when osproxy itself failed, 2 wrong usage"
                                        : "0 good, 1 failed, 2 wrong usage";
  return out + fmt::format("\nexit status: {}\n", status);
}

}  // namespace mitm::cli
