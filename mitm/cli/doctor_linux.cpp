// Linux: each check asks the kernel itself, not its version or its configuration file.
#include <cerrno>
#include <fstream>

#include <linux/connector.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/capture.h"
#include "divert/packet_source.h"
#include "divert/privilege.h"
#include "divert/proof.h"
#include "mitm/cli/doctor.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/trust.h"
#include "pfctl/conntrack_use.h"
#include "pfctl/loader.h"
#include "pfctl/natlook.h"
#include "pfctl/surroundings.h"
#include "procmap/attribution.h"

namespace mitm::cli {
namespace {

using State = Finding::State;
using Findings = std::vector<Finding>;

constexpr rlim_t kFewDescriptors = 4096;
constexpr int kSmallBacklog = 1024;

bool is_root() {
  return ::geteuid() == 0;
}

Finding good(std::string check, std::string detail) {
  return {State::ok, std::move(check), std::move(detail), {}, true};
}

Finding bad(State state, std::string check, std::string detail, std::string advice, bool needed = true) {
  return {state, std::move(check), std::move(detail), std::move(advice), needed};
}

Finding needs_root(std::string check) {
  return bad(State::blocked, std::move(check), "cannot be looked at without root", "sudo osproxy doctor",
             false);
}

std::string first_word_of(const char* path) {
  std::ifstream file{path};
  std::string word;
  file >> word;
  return word;
}

Finding check_privileges() {
  if (!is_root()) {
    return bad(State::blocked, "privileges", "not root: nothing can be diverted", "sudo osproxy doctor");
  }
  const auto gid = divert::choose_exempt_group(std::nullopt);
  if (!gid) return bad(State::blocked, "privileges", gid.error().text, "choose one with --group");
  return good("privileges", fmt::format("root; group {} is free for osproxy's own connections", *gid));
}

Finding check_tables() {
  if (!is_root()) return needs_root("nf_tables");
  const auto owner = pfctl::rules_owner();
  if (!owner) return bad(State::missing, "nf_tables", owner.error().text, "load the module nf_tables");
  if (*owner > 0)
    return bad(State::blocked, "nf_tables", fmt::format("osproxy runs already (pid {})", *owner),
               "end it first");
  if (*owner < 0) {
    return bad(State::blocked, "nf_tables", "a table inet osproxy without a process is loaded",
               "sudo osproxy cleanup");
  }
  return good("nf_tables", "rules can be loaded, and belong to their process");
}

Finding check_queue() {
  if (!is_root()) return needs_root("packet queue");
  const auto sources = divert::open_packet_sources(1);
  if (sources) return good("packet queue", fmt::format("NFQUEUE, number {} is free", sources->first));
  return bad(State::missing, "packet queue", sources.error().text,
             "modprobe nfnetlink_queue; the redirect engine works without", false);
}

Finding check_conntrack() {
  if (!is_root()) return needs_root("conntrack");
  const auto natlook = pfctl::Natlook::open();
  if (!natlook)
    return bad(State::missing, "conntrack", natlook.error().text, "modprobe nf_conntrack_netlink");
  const auto use = pfctl::conntrack_use();
  if (!use) return good("conntrack", "can be asked for original destinations");
  auto text =
      fmt::format("can be asked for original destinations; {} of {} entries in use", use->count, use->limit);
  if (!use->nearly_full()) return good("conntrack", std::move(text));
  return bad(State::blocked, "conntrack", std::move(text),
             "new connections of everyone will be dropped: sysctl -w net.netfilter.nf_conntrack_max=<more>");
}

Finding check_attribution() {
  auto attributor = procmap::Attributor::open();
  if (!attributor)
    return bad(State::missing, "sock_diag", attributor.error().text, "modprobe tcp_diag inet_diag");
  const auto rows = procmap::socket_table(*attributor);
  if (!rows) return bad(State::missing, "sock_diag", rows.error().text, "modprobe tcp_diag inet_diag");
  return good("sock_diag", fmt::format("{} TCP sockets can be seen in this network namespace", rows->size()));
}

Finding check_ipv6() {
  const base::UniqueFd socket{::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  if (socket && ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return good("IPv6", "there is a loopback address for the listener");
  return bad(State::missing, "IPv6", "no loopback address: IPv6 connections are not diverted",
             "nothing, unless programs here use IPv6: sysctl -w net.ipv6.conf.lo.disable_ipv6=0", false);
}

Finding check_cgroup() {
  if (!is_root()) return needs_root("cgroup v2");
  const auto cgroup = divert::make_cgroup(::getpid());
  if (!cgroup)
    return bad(State::blocked, "cgroup v2", cgroup.error().text, "exec goes by the process tree", false);
  if (cgroup->name.empty()) {
    return bad(State::missing, "cgroup v2", "there is none: exec goes by the process tree",
               "mount -t cgroup2 none /sys/fs/cgroup", false);
  }
  divert::remove_cgroup(cgroup->name);
  return good("cgroup v2", "exec can give its command a cgroup of its own");
}

Finding check_process_events() {
  const base::UniqueFd socket{::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_CONNECTOR)};
  if (socket) return good("process events", "the netlink connector is there; osproxy does not need it");
  return bad(State::missing, "process events", "no netlink connector", "nothing: osproxy does not need it",
             false);
}

Finding check_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (is_root() || limit.rlim_max >= kFewDescriptors)
    return good("descriptors",
                is_root() ? "as many as are needed" : fmt::format("{} at most", limit.rlim_max));
  return bad(State::blocked, "descriptors", fmt::format("{} at most", limit.rlim_max), "ulimit -Hn 1048576",
             false);
}

Finding check_backlog() {
  const std::string value = first_word_of("/proc/sys/net/core/somaxconn");
  if (std::atoi(value.c_str()) >= kSmallBacklog)
    return good("sysctl", fmt::format("net.core.somaxconn is {}", value));
  return bad(State::blocked, "sysctl",
             fmt::format("net.core.somaxconn is {}: bursts of connections are cut", value),
             "sysctl -w net.core.somaxconn=4096", false);
}

/// Our bit, as another's rules see it.
Finding check_marks(std::uint32_t bit) {
  const auto rules = pfctl::mark_rules();
  if (!rules) return bad(State::blocked, "marks", rules.error().text, "look at `ip rule` yourself", false);
  for (const auto& rule : *rules) {
    if ((rule.mask & bit) == 0) continue;
    return bad(
        State::blocked, "marks",
        fmt::format(
            "`ip rule` {} looks at the bit {:#x} of packet marks (fwmark {:#x}/{:#x}), which osproxy sets",
            rule.priority, bit, rule.mark, rule.mask),
        "choose another bit with --mark");
  }
  return good("marks", rules->empty() ? "nobody routes by packet marks"
                                      : fmt::format("{} rules route by packet marks, none by bit {:#x}",
                                                    rules->size(), bit));
}

Finding check_other_tables() {
  if (!is_root()) return needs_root("other tables");
  const auto chains = pfctl::output_chains();
  if (!chains)
    return bad(State::blocked, "other tables", chains.error().text, "look at `nft list ruleset` yourself",
               false);
  // Of two redirects the first one wins; ours is at -101.
  constexpr int kOurs = -101;
  std::vector<std::string> before;
  for (const auto& chain : *chains) {
    if (chain.type == "nat" && chain.priority <= kOurs)
      before.push_back(fmt::format("{} {} (priority {})", chain.table, chain.name, chain.priority));
  }
  if (before.empty())
    return good("other tables",
                fmt::format("{} output chains, none of them translates before ours", chains->size()));
  return bad(State::blocked, "other tables",
             fmt::format("these translate outgoing connections before us: {}", fmt::join(before, ", ")),
             "what they redirect is not seen; give them a priority above -101");
}

void check_trust(const RunSettings& settings, Findings& findings) {
  const auto user = divert::invoking_user();
  const std::string root = settings.ca_dir + "/root-ca.pem";
  if (!user || !tls::load_root_certificate(settings.ca_dir)) {
    findings.push_back(bad(State::missing, "CA", fmt::format("there is none in {} yet", settings.ca_dir),
                           "the first run makes one", false));
    return;
  }
  for (const auto& store : tls::trust_status(root, {user->uid, user->gid, user->name, user->home})) {
    const std::string check = "CA";
    if (store.state == tls::StoreStatus::State::trusted) {
      findings.push_back(good(check, "trusted by " + store.store));
    } else if (store.state == tls::StoreStatus::State::absent) {
      findings.push_back(bad(State::missing, check, "not trusted by " + store.store,
                             "sudo osproxy ca install, or use osproxy exec", false));
    } else {
      findings.push_back(bad(State::blocked, check, store.store + ": " + store.detail, "", false));
    }
  }
}

Finding proved(std::string check, divert::EngineChoice engine, bool needed) {
  const auto proof = divert::prove(engine);
  if (proof) return good(std::move(check), "two programs of our own were told apart, just now");
  return bad(State::blocked, std::move(check), proof.error().text, "", needed);
}

/// What `auto` would choose is what works.
void check_engines(Findings& findings) {
  if (!is_root()) return findings.push_back(needs_root("engine"));
  Finding packet = proved("packet engine", divert::EngineChoice::packet, false);
  Finding redirect = proved("redirect engine", divert::EngineChoice::redirect, true);
  const bool any = packet.state == State::ok || redirect.state == State::ok;
  const std::string chosen = packet.state == State::ok ? "packet" : "redirect";
  findings.push_back(std::move(packet));
  findings.push_back(std::move(redirect));
  findings.push_back(any ? good("engine", fmt::format("--engine auto takes {}", chosen))
                         : bad(State::blocked, "engine", "none works", "see above"));
}

}  // namespace

std::vector<Finding> examine(const RunSettings& settings) {
  Findings findings{check_privileges(),
                    check_tables(),
                    check_queue(),
                    check_conntrack(),
                    check_attribution(),
                    check_ipv6(),
                    check_cgroup(),
                    check_process_events(),
                    check_descriptors(),
                    check_backlog(),
                    check_marks(settings.mark_bit),
                    check_other_tables()};
  check_trust(settings, findings);
  check_engines(findings);
  return findings;
}

}  // namespace mitm::cli
