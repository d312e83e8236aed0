// Linux: each check asks the kernel itself, not its version or its configuration file.
#include <algorithm>
#include <fstream>

#include <unistd.h>

#include "base/fd.h"
#include "divert/packet/packet_log.h"
#include "divert/packet/packet_source.h"
#include "divert/process/command.h"
#include "divert/process/confine.h"
#include "mitm/cli/doctor.h"
#include "mitm/cli/doctor_checks.h"
#include "pfctl/conntrack_use.h"
#include "pfctl/foreign_rules.h"
#include "pfctl/loader.h"
#include "pfctl/natlook.h"
#include "pfctl/nft_rules.h"
#include "pfctl/other_rules.h"
#include "procmap/attribution.h"

namespace mitm::cli {
namespace {

using State = Finding::State;
constexpr int kSmallBacklog = 1024;

std::string first_word_of(const char* path) {
  std::ifstream file{path};
  std::string word;
  file >> word;
  return word;
}

Finding check_tables() {
  if (!is_root()) return needs_root("nf_tables");
  const auto owner = pfctl::rules_owner();
  if (!owner)
    return bad(State::missing, "nf_tables", owner.error().text, "load the module nf_tables");
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
  if (sources)
    return good("packet queue", fmt::format("NFQUEUE, number {} is free", sources->first));
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
  auto text = fmt::format("can be asked for original destinations; {} of {} entries in use",
                          use->count, use->limit);
  if (!use->nearly_full()) return good("conntrack", std::move(text));
  return bad(State::blocked, "conntrack", std::move(text),
             "new connections of every program will be dropped: sysctl -w "
             "net.netfilter.nf_conntrack_max=<more>");
}

Finding check_attribution() {
  auto attributor = procmap::Attributor::open();
  if (!attributor)
    return bad(State::missing, "sock_diag", attributor.error().text, "modprobe tcp_diag inet_diag");
  const auto rows = procmap::socket_table(*attributor);
  if (!rows)
    return bad(State::missing, "sock_diag", rows.error().text, "modprobe tcp_diag inet_diag");
  return good("sock_diag",
              fmt::format("{} TCP sockets can be seen in this network namespace", rows->size()));
}

Finding check_cgroup() {
  if (!is_root()) return needs_root("cgroup v2");
  const auto cgroup = divert::make_cgroup(::getpid(), 0);
  if (!cgroup)
    return bad(State::blocked, "cgroup v2", cgroup.error().text, "exec goes by the process tree",
               false);
  if (cgroup->name.empty()) {
    return bad(State::missing, "cgroup v2", "not mounted: exec goes by the process tree",
               "mount -t cgroup2 none /sys/fs/cgroup", false);
  }
  divert::remove_cgroup(cgroup->name);
  return good("cgroup v2", "exec can give its command a cgroup of its own");
}

Finding check_copies() {
  if (!is_root()) return needs_root("DNS copies");
  const auto logs = divert::open_packet_logs();
  if (logs)
    return good("DNS copies", fmt::format("NFLOG, group {} is free", logs->front().group()));
  return bad(State::missing, "DNS copies", logs.error().text,
             "modprobe nfnetlink_log; without it lookups are not shown", false);
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
  if (!rules)
    return bad(State::blocked, "marks", rules.error().text, "look at `ip rule` yourself", false);
  for (const auto& rule : *rules) {
    if ((rule.mask & bit) == 0) continue;
    return bad(
        State::blocked, "marks",
        fmt::format(
            "`ip rule` {} looks at the bit {:#x} of packet marks (fwmark {:#x}/{:#x}), which "
            "osproxy sets",
            rule.priority, bit, rule.mark, rule.mask),
        "choose another bit with --mark");
  }
  return good("marks", rules->empty()
                           ? "no `ip rule` routes by packet marks"
                           : fmt::format("{} of `ip rule` route by packet marks, none by bit {:#x}",
                                         rules->size(), bit));
}

Finding check_other_tables() {
  if (!is_root()) return needs_root("other tables");
  const auto chains = pfctl::output_chains();
  const auto found = pfctl::find_conflicts({});
  if (!chains || !found) {
    return bad(State::blocked, "other tables", (chains ? found.error() : chains.error()).text,
               "look at `nft list ruleset` yourself", false);
  }
  if (found->empty()) {
    return good("other tables",
                fmt::format("{} output chains; none translates before ours, asks for cgroups or "
                            "switches connection tracking off",
                            chains->size()));
  }
  return bad(State::blocked, "other tables", fmt::format("{}", fmt::join(*found, "; ")),
             fmt::format("give chains of nat a priority above {}; leave the programs that rules by "
                         "cgroup or `notrack` are for alone",
                         pfctl::kDivertPriority),
             std::ranges::any_of(*chains, [](const pfctl::OutputChain& chain) {
               // Of two redirects the first one wins.
               return chain.type == "nat" && chain.priority <= pfctl::kDivertPriority;
             }));
}

Finding check_confinement() {
  const auto possible = divert::possible_confinement();
  std::vector<std::string_view> missing;
  if (!possible.system_calls) missing.emplace_back("seccomp");
  if (!possible.files) missing.emplace_back("Landlock");
  if (missing.empty()) return good("worker", "is confined by seccomp and Landlock");
  return bad(
      State::missing, "worker", fmt::format("runs without {}", fmt::join(missing, " and ")),
      "a kernel that has it (/sys/kernel/security/lsm names Landlock); osproxy works without",
      false);
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

Findings examine(const Settings& settings) {
  Findings findings{check_privileges(),
                    check_tables(),
                    check_queue(),
                    check_copies(),
                    check_conntrack(),
                    check_attribution(),
                    check_ipv6("sysctl -w net.ipv6.conf.lo.disable_ipv6=0"),
                    check_cgroup(),
                    check_descriptors(),
                    check_backlog(),
                    check_marks(settings.mark),
                    check_other_tables(),
                    check_confinement()};
  check_trust(settings, findings);
  check_engines(findings);
  return findings;
}

}  // namespace mitm::cli
