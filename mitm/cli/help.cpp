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

/// A text as it is printed, without the line break before it in the source.
constexpr std::string_view lines(std::string_view text) {
  return text.substr(1);
}

constexpr std::string_view kFilterHelp = lines(R"(
FILTER is a comma-separated list that is read from left to right. An item adds programs, !ITEM
removes them; if the first item is a !ITEM, the list starts with every program.
  curl         its path contains "curl"                     !curl      not these programs
  =curl        its name is exactly curl                     123        the process with this id
  /usr/bin     its path begins like this (with wildcards    ~REGEX     its path matches (RE2)
               * and ?)
  ITEM+        the program and everything it starts         unknown    its owner cannot be found
  user:ann, group:staff, cgroup:/user.slice                 "a,b"      a text with commas in it
A program is known by its executable, by its argv[0] (=python3 selects /usr/bin/python3.11, too) and
by the script that an interpreter runs (npm, script.py). Often a child process makes the connection:
git+ and npm+ select the children as well.
)");

constexpr std::array kPages{
    HelpPage{"run", "intercept the programs that FILTER selects (the default command)",
             "osproxy [run] [FILTER] [options]", lines(R"(
Diverts the TCP connections of this machine to osproxy, finds the process behind each, and
intercepts the programs that FILTER selects: TLS is decrypted with osproxy's own CA, and each
request is shown when its response ends. All other traffic is left untouched. Without FILTER every
program is intercepted. Ctrl-C ends the run. The rules are removed however it ends.

The programs must trust the CA: see `osproxy ca install`, or use `osproxy exec`. run does not start
while no trust store has the CA (see --allow-untrusted), or if FILTER names no program, process or
user that exists (see --wait-for).
)"),
             lines(R"(
  sudo osproxy curl                         every request that any curl makes
  sudo osproxy '!firefox' --ports all       everything but Firefox, on every TCP port
  sudo osproxy make+ -d 2                   what make and its children fetch, with headers
  sudo osproxy curl --block ads.example --pass '*.bank.example'
  sudo osproxy curl -f jsonl -o flows.jsonl --pcap flows.pcapng
)")},
    HelpPage{"exec", "run one command and intercept it and its descendants only",
             "osproxy exec [options] -- CMD [ARG ...]", lines(R"(
Runs CMD as the user who typed sudo and intercepts it and everything it starts, but no other
program. The usual variables (SSL_CERT_FILE, CURL_CA_BUNDLE, NODE_EXTRA_CA_CERTS, ...) make it trust
osproxy's CA beside the system's, so nothing has to be installed. If your environment already sets
these variables, the certificates in their files are trusted as well. sudo resets the environment:
exec restores these variables and, for CMD, your PATH; `sudo -E` keeps the rest. Only the directory
of the CA (--ca-dir) is left afterwards; you may remove it.

Flows go to standard error, or to --output FILE. With --output - they have standard output for
themselves, and the output of CMD goes to standard error. Standard input, the terminal and signals
are CMD's own. The exit status is CMD's: 128+n if signal n ended it, 127 if there is no such
command.
)"),
             lines(R"(
  sudo osproxy exec -- curl https://example.org/
  sudo osproxy exec -f jsonl -o flows.jsonl -- npm install
  sudo osproxy exec -f jsonl -o - -- npm ci 2>/dev/null |
    jq -r 'select(.type=="http") | .url'
)")},
    HelpPage{"open", "show the flows of sessions and other files",
             "osproxy open FILE ... [options]", lines(R"(
Shows all flows of one file after the other, as a run shows them. FILE is a session (run and exec
write it with --save), a HAR, a flow file of mitmproxy or what -f jsonl wrote; - is standard input.
What is damaged in a file is named, with its place; all that is whole is shown. No root is needed.
)"),
             lines(R"(
  osproxy open s.osp browser.har
  osproxy open flows.mitm -d 2
)")},
    HelpPage{"query", "show flows that were stored, or turn them into other files",
             "osproxy query FILE [FILTER] [options]", lines(R"(
FILE is a session (run and exec write it with --save), a HAR, a flow file of mitmproxy or what -f
jsonl wrote; - is standard input. FILTER selects flows; without it, all are shown. It has
mitmproxy's operators and comparisons of fields, freely mixed:
  ~d example ~c 5xx                         host and status, as in mitmproxy
  process.name == "curl" and duration > 300ms
  ~m POST and (resp.size > 1M or resp.header["server"] contains "nginx")
`osproxy query --list-fields` lists all operators and fields. The flows go to standard output. A run
may go on writing the session meanwhile: what has ended is there within a second, what is under way
after two. No root is needed.
)"),
             lines(R"(
  osproxy query s.osp '~p curl & ~c 5xx'
  osproxy query s.osp --sort -duration -d 2
  osproxy query s.osp --format har > flows.har
  osproxy query flows.mitm --count '~u login'
)")},
    HelpPage{"export", "write flows that were stored to a file of another format",
             "osproxy export FILE [FILTER] -o OUT [options]", lines(R"(
FILE and FILTER are those of osproxy query. The ending of OUT is the format, unless --format names
it: .har, .mitm or .flows, .pcapng, .jsonl or .ndjson, .txt, .csv (with --fields), .http (raw
requests), .sh (curl), .js (fetch), .py (requests). OUT is readable only by you. It appears when it
is whole: if the disk is full, or osproxy is interrupted, nothing of it is left, and a file that is
to be overwritten (--force) is as it was. No root is needed.
)"),
             lines(R"(
  osproxy export s.osp -o flows.har
  osproxy export s.osp '~p curl & ~c 5xx' -o failed.mitm
)")},
    HelpPage{"import", "put the flows of other files into a session",
             "osproxy import FILE ... --save SESSION", lines(R"(
FILE is a HAR, a flow file of mitmproxy, what -f jsonl wrote, or another session; - is standard
input. The flows are added to SESSION, which is made if it does not exist; those that it has already
are added again. What is damaged in a file is named, with its place; all that is whole is taken,
also of a damaged session. No root is needed.
)"),
             lines(R"(
  osproxy import flows.mitm browser.har --save all.osp
)")},
    HelpPage{"sessions", "list, remove and compact sessions",
             "osproxy sessions list|rm|compact [SESSION ...] [options]", lines(R"(
  list       show sessions: when they began, their size, flows, state, the version of their format,
             programs. A session is being written, closed, or interrupted: its run was killed while
             flows were under way, and nothing has read it since
  rm         remove these sessions
  compact    write these sessions anew, without the room that deleted flows have left; on a full
             disk they stay as they were
SESSION is a file, or the name of a session in your own directory,
$XDG_STATE_HOME/osproxy/sessions or ~/.local/state/osproxy/sessions, where run and exec put those of
--save auto. Other commands take such names as well. What is being written is neither removed nor
compacted. No root is needed.
)"),
             lines(R"(
  osproxy sessions list
  osproxy query 20261130-130435-curl '~c 5xx'
  osproxy sessions rm 20261130-130435-curl
)")},
    HelpPage{"rules", "print the packet-filter rules that a run loads", "osproxy rules [options]",
             lines(R"(
Prints the rules that `osproxy run` loads with the same options. Changes nothing and needs no
root.

For nftables it prints a table. (During a run, `nft list table inet osproxy` shows the same rules as
nft words them.) For pf it prints an anchor, whose first lines say how to load and remove it. With
--engine auto these are the rules of the redirect engine, although a run on FreeBSD with ipdivert
uses the packet engine: add --engine packet to print those.

--into FILE prints the main ruleset FILE with the lines that load the anchor at boot. While osproxy
is not running, connections that these rules divert fail.

--dry-run SESSION is about other rules, those that change messages (of the config file,
--modify-headers and others): it prints how many flows of SESSION each of them would match.
)"),
             lines(R"(
  osproxy rules --ports 443 --exclude 10.0.0.0/8
  osproxy rules --dialect darwin > osproxy.pf.conf
  osproxy rules --dialect freebsd --into /etc/pf.conf > pf.conf.new
  osproxy rules --dry-run traffic.osp --block-list '/~d ads.example.org/403'
)")},
    HelpPage{"who", "show which process owns a socket", "osproxy who [WHAT] [options]", lines(R"(
Lists the TCP sockets of this network namespace and the processes that own them. WHAT is one of:
  - a port, an address or a host, each also with a port: sockets with this at either end;
  - a FILTER: the sockets of the programs that it selects.
A number is a port; if no socket has this port, it is a process id. Sockets without a process (most
are connections that are over) are only counted; -f jsonl lists them. Root sees the owners of all
sockets, other users see their own.

--follow shows connections as they begin (TCP, and QUIC over UDP), whoever makes them, until Ctrl-C.
The kernel gives it copies of first packets (Linux only): nothing is held, changed or decrypted, no
CA is made, and a run of osproxy may go on beside it. Hosts are those whose names programs look up
by DNS, and WHAT as it resolves now; for a name that comes in another way use the address.
)"),
             lines(R"(
  sudo osproxy who 443
  sudo osproxy who api.example.org:443
  sudo osproxy who =curl -f jsonl
  sudo osproxy who --follow api.example.org
)")},
    HelpPage{"ca", "create, show and install the certificate authority",
             "osproxy ca create|show|export|install|uninstall|status [options]", lines(R"(
  create     create the CA (the first run does so as well); its key stays with root
  show       print its file, subject, validity and fingerprint
  export     print the root certificate as PEM
  install    make this machine trust it: the system's store, the NSS databases (Firefox, Chromium)
             of the user who typed sudo, and Java
  uninstall  remove it from all of these stores
  status     list the stores that trust it
)"),
             lines(R"(
  sudo osproxy ca install
  osproxy ca export > osproxy-ca.pem
)")},
    HelpPage{"learned", "list programs that pass because they refused osproxy's certificate",
             "osproxy learned [--forget ITEM]", lines(R"(
A program that refuses osproxy's certificate for a host three times in a row (because it pins
certificates, or ships its own CA list) is no longer intercepted when it connects to that host, for
ten minutes: see --passthrough-after and --passthrough-ttl of run and exec. This command lists these
programs and hosts for your runs; the list of a run ends with the run. --forget intercepts a host, a
program or all of them again, at once. A rule that names the host takes precedence.
)"),
             lines(R"(
  osproxy learned
  osproxy learned --forget pinned.example.org
)")},
    HelpPage{"config", "check or show the configuration",
             "osproxy config check|show [FILE] [options]", lines(R"(
  check      read the config file as a run would, and report all errors with file, line, key and
             expected value; files that it names are read, too
  show       print the options that result from the defaults and the file
The file is JSON and may have // and /* */ comments; conf/osproxy.json is a sample. Options on the
command line override it.
)"),
             lines(R"(
  osproxy config check -c my.json
)")},
    HelpPage{"doctor", "check what works on this machine, and say what to do about the rest",
             "osproxy doctor [options]", lines(R"(
Checks everything that a run relies on and prints a line for each: ok, missing, blocked, or
optional (missing or blocked, but a run works without it), with advice. With root it also runs a
test: it loads rules for two programs of its own that connect on the loopback, and removes the rules
again. No other program is affected. The exit status is 1 if something prevents a run.
)"),
             lines(R"(
  sudo osproxy doctor
  sudo osproxy doctor -f jsonl
)")},
    HelpPage{"cleanup", "remove what an interrupted run left behind", "osproxy cleanup", lines(R"(
A run removes its rules and files even if it is killed. This command is for two other cases: all
its processes were killed at the same moment, or a table was loaded by hand. It is safe at any time:
what a running osproxy uses is left alone.
)"),
             lines(R"(
  sudo osproxy cleanup
)")},
};

std::string spelled(const Option& option) {
  std::string text = option.letter ? fmt::format("  -{}, --{}", option.letter, option.name)
                                   : fmt::format("      --{}", option.name);
  const auto value = option.type.choices.empty()
                         ? std::string(option.argument)
                         : fmt::format("{}", fmt::join(option.type.choices, "|"));
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

/// `text` in lines of kWidth.
std::string wrapped(std::string_view text) {
  std::string out;
  while (text.size() > kWidth) {
    const auto space = text.rfind(' ', kWidth);
    out.append(text.substr(0, space)).append("\n");
    text.remove_prefix(space + 1);
  }
  return out.append(text).append("\n");
}

std::string options_text(std::string_view command) {
  std::string out;
  for (const auto& option : option_table()) {
    if (!option.on_command_line() || !knows(command, option)) continue;
    const auto value = default_text(option);
    const auto note = value.empty() ? value : fmt::format(" (default: {})", value);
    out += in_columns(spelled(option), std::string(option.help) + note);
  }
  return out + in_columns("  -h, --help", "print this text");
}

constexpr std::string_view kProgramHead = lines(R"(
osproxy shows the traffic of chosen programs on this machine, decrypted, and touches nothing else.

usage: osproxy [COMMAND] [options] ...

commands:
)");

constexpr std::string_view kProgramTail = lines(R"(
examples:
  sudo osproxy exec -- curl https://example.org/    one command, nothing installed
  sudo osproxy curl                                 every curl on this machine

`osproxy COMMAND --help` describes a command; `osproxy --version` prints the version.
exit status: 0 success, 1 failure, 2 wrong usage; exec: that of the command
)");

std::string program_text() {
  std::string out(kProgramHead);
  for (const auto& page : kPages) out += fmt::format("  {:10}{}\n", page.command, page.summary);
  return out + fmt::format("\n{}\n{}", kFilterHelp, kProgramTail);
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
    out += fmt::format("All long options are keys of the file, except\n{}Keys only: {}.\n\n",
                       wrapped(fmt::format("--{}.", fmt::join(cli_only_options(), ", --"))),
                       fmt::join(config_only_options(), ", "));
  }
  out += fmt::format("options:\n{}\nexamples:\n{}", options_text(command), page->examples);
  const auto status = command == "exec" ? "CMD's; 1 if osproxy itself failed, 2 wrong usage"
                                        : "0 success, 1 failure, 2 wrong usage";
  return out + fmt::format("\nexit status: {}\n", status);
}

}  // namespace mitm::cli
