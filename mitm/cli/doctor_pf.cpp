// macOS and FreeBSD: pfctl(8) and /dev/pf are asked, and then connections of our own diverted.
#include <unistd.h>

#include "mitm/cli/doctor_checks.h"
#include "mitm/cli/pf_status.h"
#include "mitm/tls/program.h"
#include "pfctl/loader.h"
#include "pfctl/natlook.h"
#include "procmap/attribution.h"

namespace mitm::cli {
namespace {

using State = Finding::State;

/// macOS has our anchor evaluated by the name it gives Apple's; FreeBSD's loader refers to it during a run.
constexpr std::string_view kStockAnchor = "com.apple/osproxy";

/// What `pfctl` with these arguments prints; empty: it cannot be asked.
std::string pfctl_says(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "/sbin/pfctl");
  const auto finished = tls::run({std::move(arguments), {}, std::chrono::seconds{10}}, tls::nobody_else());
  return finished && finished->status == 0 ? finished->output : std::string();
}

Finding check_rules() {
  if (!is_root()) return needs_root("pf");
  const auto owner = pfctl::rules_owner();
  if (!owner) return bad(State::missing, "pf", owner.error().text, "see pfctl -s info");
  if (*owner > 0)
    return bad(State::blocked, "pf", fmt::format("osproxy runs already (pid {})", *owner), "end it first");
  if (*owner < 0)
    return bad(State::blocked, "pf", "an interrupted run has left rules behind", "sudo osproxy cleanup");
  const std::string info = pfctl_says({"-s", "info"});
  if (info.empty()) return bad(State::missing, "pf", "pfctl cannot ask the kernel", "kldload pf, on FreeBSD");
  if (!pf_enabled(info))
    return good("pf", "is there and not enabled: a run enables it, and puts that back at its end");
  return good("pf", "is enabled");
}

Finding check_anchor() {
  if (!is_root()) return needs_root("anchor");
  const std::string rules = pfctl_says({"-s", "rules"}), translations = pfctl_says({"-s", "nat"});
  for (const std::string_view anchor : {kStockAnchor, std::string_view{"osproxy"}}) {
    if (refers_to_anchor(rules, "anchor", anchor) && refers_to_anchor(translations, "rdr-anchor", anchor))
      return good("anchor", fmt::format("the main ruleset has {} evaluated", anchor));
  }
  return good("anchor", "the main ruleset has ours not evaluated yet: a run sees to that, and puts it back");
}

Finding check_loopback() {
  if (!is_root()) return needs_root("lo0");
  if (!skips_interface(pfctl_says({"-v", "-s", "Interfaces"}), "lo0"))
    return good("lo0", "the main ruleset lets pf see it");
  return bad(State::blocked, "lo0", "the main ruleset has `set skip on lo0`: nothing can be redirected",
             "take that line out of /etc/pf.conf and load it: pfctl -f /etc/pf.conf");
}

Finding check_original_destinations() {
  if (!is_root()) return needs_root("natlook");
  const auto natlook = pfctl::Natlook::open();
  if (natlook) return good("natlook", "/dev/pf can be asked for original destinations");
  return bad(State::missing, "natlook", natlook.error().text, "");
}

Finding check_attribution() {
  auto attributor = procmap::Attributor::open();
  if (!attributor) return bad(State::missing, "owners", attributor.error().text, "");
  const auto rows = procmap::socket_table(*attributor);
  if (!rows) return bad(State::missing, "owners", rows.error().text, "");
  return good("owners", fmt::format("{} TCP sockets can be seen", rows->size()));
}

}  // namespace

std::vector<Finding> examine(const RunSettings& settings) {
  Findings findings{check_privileges(),
                    check_rules(),
                    check_anchor(),
                    check_loopback(),
                    check_original_destinations(),
                    check_attribution(),
                    check_ipv6("ifconfig lo0 inet6 ::1 prefixlen 128"),
                    check_descriptors()};
  check_trust(settings, findings);
  findings.push_back(is_root() ? proved("redirect engine", divert::EngineChoice::redirect, true)
                               : needs_root("redirect engine"));
  return findings;
}

}  // namespace mitm::cli
