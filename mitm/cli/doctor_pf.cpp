// macOS and FreeBSD: pfctl(8) and /dev/pf are asked, and then connections of our own diverted.
#include <unistd.h>

#include "base/text.h"
#include "mitm/cli/doctor.h"
#include "mitm/cli/doctor_checks.h"
#include "pfctl/loader.h"
#include "pfctl/natlook.h"
#include "pfctl/pf_plan.h"
#include "pfctl/pf_query.h"
#include "procmap/attribution.h"

namespace mitm::cli {
namespace {

using State = Finding::State;

/// Of an osproxy that runs, or has been killed.
std::optional<Finding> check_others() {
  const auto owner = pfctl::rules_owner();
  if (!owner) return bad(State::missing, "pf", owner.error().text, "see pfctl -s info");
  if (*owner > 0)
    return bad(State::blocked, "pf", fmt::format("osproxy runs already (pid {})", *owner),
               "end it first");
  if (*owner == pfctl::kUnseenOwner)
    return bad(State::blocked, "pf", "osproxy is just starting", "end it first");
  if (*owner < 0)
    return bad(State::blocked, "pf",
               "an interrupted run has left its changes behind; "
               "doctor leaves them, the next run undoes them",
               "sudo osproxy cleanup");
  return std::nullopt;
}

Finding check_enabled(const pfctl::Status& status) {
  if (!status.module_loaded)
    return good("pf", "is a module: a run loads it and enables pf, and puts that back at its end");
  if (!status.enabled)
    return good("pf", "is there and not enabled: a run enables it, and puts that back at its end");
  return good("pf", "is enabled");
}

Finding check_anchor(const pfctl::Machine& machine, const pfctl::Status& status) {
  const std::string rival = pfctl::first_to_decide(status.main.rules, machine.anchor);
  const std::string before =
      rival.empty() ? std::string()
                    : fmt::format("; before it `{}` can decide", base::printable(rival));
  if (status.refers_to_anchor(machine.anchor))
    return good("anchor", fmt::format("the main ruleset evaluates {}{}", machine.anchor, before));
  return good("anchor",
              fmt::format("the main ruleset does not evaluate {} yet: a run refers to it, in "
                          "front of all others, and puts that back",
                          machine.anchor));
}

Finding check_loopback(const pfctl::Machine& machine, const pfctl::Status& status) {
  if (status.skips_lo0) {
    return bad(State::blocked, "lo0", "pf skips it: nothing can be redirected",
               pfctl::advice_on_skipping(machine.dialect));
  }
  const pfctl::Ruleset usual;
  const auto plan = pfctl::plan_preparation(status, {usual.alias_v4, usual.alias_v6});
  if (!plan) return bad(State::blocked, "lo0", plan.error().text, "");
  std::string text = fmt::format("gets {} during a run", plan->loopback.v4.to_string());
  if (!plan->loopback.v6.is_unspecified())
    text += fmt::format(", and {}", plan->loopback.v6.to_string());
  for (const auto& step : plan->steps) {
    if (step.kind == pfctl::Step::Kind::set_mtu)
      text += ", and a larger MTU, for interfaces with TSO";
  }
  return good("lo0", text);
}

Finding check_owner_rules(const pfctl::Status& status) {
  const std::string caution = pfctl::caution_by_owner(status.main.rules);
  if (caution.empty()) return good("owner rules", "no rule of pf is by user or group");
  return bad(State::blocked, "owner rules", base::printable(caution),
             "let the programs that such rules are for pass (a rule with action pass)", false);
}

/// pf, the anchor, rules of others, lo0.
Findings check_pf(const pfctl::Machine& machine) {
  const auto status = pfctl::query_status(machine);
  if (!status) return {bad(State::missing, "pf", status.error().text, "")};
  Findings findings{check_enabled(*status), check_anchor(machine, *status),
                    check_owner_rules(*status), check_loopback(machine, *status)};
  if (machine.dialect == pfctl::Dialect::darwin) {
    findings.push_back(good("Private Relay",
                            "iCloud Private Relay switches itself off while a run has rules in "
                            "pf (macOS 14 and later)"));
  }
  return findings;
}

Finding check_original_destinations(const pfctl::Machine& machine) {
  if (!is_root()) return needs_root("natlook");
  const auto loaded = pfctl::has_pf(machine);
  if (loaded && !*loaded) return good("natlook", "is there when a run has loaded pf");
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

/// What `auto` would choose is what works.
void check_engines(const pfctl::Machine& machine, Findings& findings) {
  Finding packet = bad(State::missing, "packet engine", "not here", "", false);
  if (machine.dialect == pfctl::Dialect::freebsd) {
    findings.push_back(check_divert(machine));
    if (findings.back().state == State::ok) {
      packet = proved("packet engine", divert::EngineChoice::packet, false);
      findings.push_back(packet);
    }
  }
  findings.push_back(proved("redirect engine", divert::EngineChoice::redirect, true));
  if (packet.state == State::ok)
    return findings.push_back(good("engine", "--engine auto takes packet; IPv6 is redirected"));
  findings.push_back(findings.back().state == State::ok
                         ? good("engine", "--engine auto takes redirect")
                         : bad(State::blocked, "engine", "none works", "see above"));
}

}  // namespace

Findings examine(const Settings& settings) {
  Findings findings{check_privileges()};
  const auto machine = pfctl::this_machine();
  // Trying an engine would undo what is left of an earlier run.
  const auto others = is_root() ? check_others() : std::nullopt;
  if (others) {
    findings.push_back(*others);
  } else if (is_root()) {
    for (auto& finding : check_pf(machine)) findings.push_back(std::move(finding));
  } else {
    for (const char* check : {"pf", "anchor", "lo0"}) findings.push_back(needs_root(check));
  }
  findings.push_back(check_original_destinations(machine));
  findings.push_back(check_attribution());
  findings.push_back(check_ipv6("ifconfig lo0 inet6 ::1 prefixlen 128"));
  findings.push_back(check_descriptors());
  check_trust(settings, findings);
  if (!is_root()) {
    findings.push_back(needs_root("engine"));
  } else if (others) {
    findings.push_back(bad(State::blocked, "engine",
                           "not tried: it would change what is said of pf above", others->advice));
  } else {
    check_engines(machine, findings);
  }
  return findings;
}

}  // namespace mitm::cli
