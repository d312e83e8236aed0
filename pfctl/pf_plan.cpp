// The order: what can fail for reasons of others first, what diverts last. The anchor is loaded before the
// main ruleset refers to it and before pf is enabled, so that nothing is ever half diverted.
#include "pfctl/pf_plan.h"

#include <algorithm>
#include <array>

#include <unistd.h>

#include "pfctl/pf_undo.h"

namespace pfctl {
namespace {

// Where the preferred one is covered: the networks for documentation, which nobody routes, and neighbours in
// our own ULA prefix.
constexpr std::array kOthersV4{"192.0.2.111", "198.51.100.111", "203.0.113.111"};
constexpr std::array kOthersV6{"fdff:6f73:1::1", "fdff:6f73:2::1"};

const Interface* lo0_of(const Status& status) {
  const auto found = std::ranges::find(status.interfaces, "lo0", &Interface::name);
  return found == status.interfaces.end() ? nullptr : &*found;
}

bool on_lo0(const Status& status, const base::Address& address) {
  const Interface* lo0 = lo0_of(status);
  return lo0 != nullptr && std::ranges::count(lo0->addresses, address) > 0;
}

bool covered(const Status& status, const base::Address& address) {
  const auto holds = [&](const base::Network& network) { return network.contains(address); };
  return std::ranges::any_of(status.routes, holds) ||
         std::ranges::any_of(status.interfaces, [&](const Interface& each) {
           return std::ranges::any_of(each.networks, holds);
         });
}

base::Result<base::Address> choose_alias(const Status& status, const base::Address& preferred) {
  std::vector<base::Address> candidates{preferred};
  for (const char* each : kOthersV4) {
    if (preferred.is_v4()) candidates.push_back(boost::asio::ip::make_address(each));
  }
  for (const char* each : kOthersV6) {
    if (preferred.is_v6()) candidates.push_back(boost::asio::ip::make_address(each));
  }
  std::string tried;
  for (const auto& each : candidates) {
    if (on_lo0(status, each) || !covered(status, each)) return each;
    tried += (tried.empty() ? "" : ", ") + each.to_string();
  }
  return base::failure(
      "no address for lo0 is free: interfaces or routes of others cover {}; choose one that is "
      "not routed",
      tried);
}

base::Result<> add_alias(const Machine& machine, const std::string& text) {
  const bool v4 = boost::asio::ip::make_address(text).is_v4();
  std::vector<std::string> argv{kIfconfig, "lo0", v4 ? "inet" : "inet6", text};
  if (v4) {
    argv.insert(argv.end(), {"netmask", "255.255.255.255", "alias"});
  } else {
    argv.insert(argv.end(), {"prefixlen", "128", "alias"});
  }
  const auto done = run_or_fail(machine, argv, "give lo0 the address " + text);
  if (!done) return done.error();
  return {};
}

base::Result<> run(const Machine& machine, const std::vector<std::string>& argv, std::string_view what,
                   std::string_view input = {}) {
  const auto done = run_or_fail(machine, argv, what, input);
  if (!done) return done.error();
  return {};
}

}  // namespace

bool Status::refers_to_anchor(std::string_view anchor) const {
  return refers_to(main.nat, "rdr-anchor", anchor) && refers_to(main.rules, "anchor", anchor);
}

base::Result<Status> query_status(const Machine& machine) {
  Status status;
  const auto interfaces = run_or_fail(machine, {kIfconfig}, "list the interfaces");
  if (!interfaces) return interfaces.error();
  status.interfaces = parse_ifconfig(interfaces->out);
  const auto routes = run_or_fail(machine, {netstat_of(machine.dialect), "-rn"}, "list the routes");
  if (!routes) return routes.error();
  status.routes = parse_routes(routes->out);
  const auto module = has_pf(machine);
  if (!module) return module.error();
  status.module_loaded = *module;
  if (!status.module_loaded) return status;
  const auto info = run_or_fail(machine, {kPfctl, "-s", "info"}, "ask whether pf is enabled");
  if (!info) return info.error();
  const auto enabled = parse_enabled(info->out);
  if (!enabled) return enabled.error();
  status.enabled = *enabled;
  const auto skipped =
      run_or_fail(machine, {kPfctl, "-v", "-s", "Interfaces"}, "ask which interfaces pf skips");
  if (!skipped) return skipped.error();
  status.skips_lo0 = skips_lo0(skipped->out);
  auto main = query_main(machine);
  if (!main) return main.error();
  status.main = std::move(*main);
  return status;
}

base::Result<Preparation> plan_preparation(const Status& status, Dialect dialect, const Loopback& preferred) {
  Preparation plan{.loopback = preferred, .steps = {}};
  const Interface* lo0 = lo0_of(status);
  // A kernel or a jail without IPv6 has none on lo0 either.
  const bool ipv6 = lo0 != nullptr && std::ranges::any_of(lo0->addresses, &base::Address::is_v6);
  if (!ipv6) plan.loopback.v6 = boost::asio::ip::address_v6::any();
  if (!status.module_loaded) plan.steps.push_back({Step::Kind::load_module, "pf"});
  for (base::Address* wanted : {&plan.loopback.v4, &plan.loopback.v6}) {
    if (wanted->is_unspecified()) continue;
    const auto chosen = choose_alias(status, *wanted);
    if (!chosen) return chosen.error();
    *wanted = *chosen;
    if (!on_lo0(status, *chosen)) plan.steps.push_back({Step::Kind::add_alias, chosen->to_string()});
  }
  const bool tso = std::ranges::any_of(status.interfaces, &Interface::tso);
  if (dialect == Dialect::freebsd && tso && lo0 != nullptr && lo0->mtu < kLargestMtu) {
    plan.steps.push_back({Step::Kind::set_mtu, std::to_string(lo0->mtu)});
  }
  return plan;
}

std::string advice_on_skipping(Dialect dialect) {
  std::string advice = "take lo0 out of `set skip` in /etc/pf.conf and load it (pfctl -f /etc/pf.conf)";
  if (dialect == Dialect::darwin) {
    advice +=
        "; where it says no such thing, Internet Sharing or the network of virtual machines (vmnet) has set "
        "it "
        "at run time: switch that off";
  }
  return advice;
}

base::Result<Offer> offer_of(const Ruleset& ruleset, Dialect dialect) {
  auto text = render_pf(ruleset, dialect);
  if (!text) return text.error();
  Offer offer{.text = std::move(*text), .proof = Offer::Proof::none, .without_ipv6 = {}};
  const bool ipv6 = ruleset.ipv6 && !ruleset.ipv6_refused;
  if (ruleset.ipv4) {
    if (!ruleset.queueing) offer.proof = Offer::Proof::ipv4;
  } else if (ipv6) {
    offer.proof = Offer::Proof::ipv6;
  }
  if (!ruleset.ipv4 || !ipv6) return offer;
  Ruleset refusing = ruleset;
  refusing.ipv6_refused = true;
  auto without = render_pf(refusing, dialect);
  if (!without) return without.error();
  offer.without_ipv6 = std::move(*without);
  return offer;
}

base::Result<std::vector<Step>> plan_loading(const Status& status, const Machine& machine, std::string text) {
  if (status.skips_lo0) {
    return base::failure("pf skips lo0, so nothing can be diverted: {}", advice_on_skipping(machine.dialect));
  }
  std::vector<Step> steps{{Step::Kind::load_anchor, std::move(text)}};
  if (!status.refers_to_anchor(machine.anchor)) steps.push_back({Step::Kind::refer_anchor, {}});
  // macOS counts who wants it enabled; FreeBSD does not.
  if (!status.enabled || machine.dialect == Dialect::darwin) steps.push_back({Step::Kind::enable, {}});
  return steps;
}

PfSession::~PfSession() {
  // A moved-from journal is empty. What cannot be undone stays in the file for the next start.
  if (!journal_.undo.empty()) (void)undo();
}

base::Result<> PfSession::note(Undo undo) {
  journal_.pid = ::getpid();
  journal_.undo.push_back(std::move(undo));
  auto written = file_.write(journal_);
  // Not on disk: then it is not done either.
  if (!written) journal_.undo.pop_back();
  return written;
}

Undone PfSession::undo() {
  prepared_ = 0;
  Undone undone = undo_down_to(0);
  journal_ = {};
  return undone;
}

Undone PfSession::unload() {
  return undo_down_to(prepared_);
}

void PfSession::abandon() {
  journal_ = {};
  file_.abandon();
}

Undone PfSession::undo_down_to(std::size_t steps) {
  Undone undone;
  std::vector<Undo> kept;
  while (journal_.undo.size() > steps) {
    const Undo step = std::move(journal_.undo.back());
    journal_.undo.pop_back();
    const auto line = undo_step(machine_, step);
    if (!line) {
      // Left over from earlier runs it would pile up.
      if (std::ranges::count(kept, step) > 0) continue;
      undone.failures.push_back(line.error().text);
      kept.insert(kept.begin(), step);
    } else if (!line->empty()) {
      undone.lines.push_back(*line);
    }
  }
  journal_.undo.insert(journal_.undo.end(), kept.begin(), kept.end());
  // Written once, at the end: to undo a step twice does no harm.
  if (auto written = file_.write(journal_); !written) undone.failures.push_back(written.error().text);
  return undone;
}

base::Error PfSession::failed(base::Error error) {
  for (const auto& each : unload().failures) error.text += fmt::format("; {}", each);
  return error;
}

base::Result<Undone> PfSession::clean_up() {
  auto left = file_.read();
  if (!left) return left.error();
  if (left->undo.empty()) return Undone{};
  journal_ = std::move(*left);
  prepared_ = 0;
  Undone undone = undo_down_to(0);
  prepared_ = journal_.undo.size();
  return undone;
}

base::Result<Loopback> PfSession::prepare(const Loopback& preferred) {
  const auto status = query_status(machine_);
  if (!status) return failed(status.error());
  const auto plan = plan_preparation(*status, machine_.dialect, preferred);
  if (!plan) return failed(plan.error());
  if (auto done = perform(plan->steps); !done) return failed(done.error());
  prepared_ = journal_.undo.size();
  return plan->loopback;
}

base::Result<Loaded> PfSession::load(const Offer& offer, const Probe& probe) {
  Loaded loaded;
  if (auto done = put_in_place(offer.text, loaded); !done) return failed(done.error());
  base::Result<> proved;
  if (probe && offer.proof != Offer::Proof::none) {
    proved = prove(probe, offer.proof == Offer::Proof::ipv6, loaded);
  } else {
    proved = warn_of_rivals(loaded);
  }
  if (!proved) return failed(proved.error());
  if (!probe || offer.without_ipv6.empty()) return loaded;
  if (auto settled = settle_ipv6(offer, probe, loaded); !settled) return failed(settled.error());
  return loaded;
}

base::Result<> PfSession::put_in_place(const std::string& text, Loaded& loaded) {
  const auto status = query_status(machine_);
  if (!status) return status.error();
  const auto steps = plan_loading(*status, machine_, text);
  if (!steps) return steps.error();
  if (auto done = perform(*steps); !done) return done;
  if (auto checked = check_loaded(); !checked) return checked;
  loaded.text = text;
  if (!status->refers_to_anchor(machine_.anchor)) {
    loaded.notes.push_back(fmt::format(
        "the main ruleset of pf did not refer to {}: it does while osproxy runs", machine_.anchor));
  }
  return {};
}

base::Result<> PfSession::prove(const Probe& probe, bool ipv6, Loaded& loaded) {
  for (const bool again : {true, false}) {
    const auto tried = probe(ipv6);
    if (!tried) return tried.error();
    if (*tried != Tried::astray) return {};
    const bool referred = std::ranges::any_of(
        journal_.undo, [](const Undo& each) { return each.kind == Undo::Kind::restore_main; });
    if (referred || !again) break;
    // A wildcard does not evaluate us, or a reference stands too far behind: say our name, in front of all.
    if (auto done = refer_anchor(); !done) return done;
    loaded.notes.push_back(fmt::format(
        "pf did not come to {} by itself: the main ruleset names it, in front of all others, while osproxy "
        "runs",
        machine_.anchor));
  }
  const auto main = query_main(machine_);
  if (!main) return main.error();
  const std::string rival = first_to_decide(main->rules, machine_.anchor);
  return base::failure(
      "pf has our rules, but a connection to try them did not arrive: {}",
      rival.empty()
          ? "nothing in its main ruleset (pfctl -s rules) comes before them, so that something else "
            "than pf decides (a VPN, another packet filter)"
          : fmt::format("`{}` in its main ruleset decides first", rival));
}

base::Result<> PfSession::settle_ipv6(const Offer& offer, const Probe& probe, Loaded& loaded) {
  const auto tried = probe(true);
  if (!tried) return tried.error();
  if (*tried != Tried::astray) return {};
  loaded.text = offer.without_ipv6;
  loaded.notes.emplace_back(
      "this machine's pf does not divert IPv6: it is refused, so that programs turn to IPv4");
  return replace(loaded.text);
}

/// Where no connection can show who decides.
base::Result<> PfSession::warn_of_rivals(Loaded& loaded) {
  const auto main = query_main(machine_);
  if (!main) return main.error();
  const std::string rival = first_to_decide(main->rules, machine_.anchor);
  if (rival.empty()) return {};
  loaded.notes.push_back(
      fmt::format("what `{}` in the main ruleset of pf decides on first is not captured: osproxy's anchor "
                  "stands behind it",
                  rival));
  return {};
}

base::Result<> PfSession::replace(const std::string& text) {
  return run(machine_, {kPfctl, "-a", machine_.anchor, "-f", "-"}, "load our rules into pf", text);
}

base::Result<> PfSession::stop() {
  return run(machine_, {kPfctl, "-a", machine_.anchor, "-F", "all"}, "take our rules out of pf");
}

base::Result<> PfSession::perform(const std::vector<Step>& steps) {
  for (const auto& each : steps) {
    if (auto done = perform(each); !done) return done;
  }
  return {};
}

base::Result<> PfSession::perform(const Step& step) {
  switch (step.kind) {
    case Step::Kind::load_module:
      return load_module(step.value);
    case Step::Kind::add_alias:
      if (auto noted = note({Undo::Kind::remove_alias, step.value}); !noted) return noted;
      return add_alias(machine_, step.value);
    case Step::Kind::set_mtu:
      if (auto noted = note({Undo::Kind::set_mtu, step.value}); !noted) return noted;
      return run(machine_, {kIfconfig, "lo0", "mtu", std::to_string(kLargestMtu)}, "set the MTU of lo0");
    case Step::Kind::load_anchor:
      if (auto noted = note({Undo::Kind::flush_anchor, {}}); !noted) return noted;
      return replace(step.value);
    case Step::Kind::refer_anchor:
      return refer_anchor();
    case Step::Kind::enable:
      return enable();
  }
  return {};
}

base::Result<> PfSession::load_module(const std::string& name) {
  if (auto noted = note({Undo::Kind::unload_module, name}); !noted) return noted;
  return run(machine_, {kKldload, name}, "load the module " + name);
}

base::Result<> PfSession::enable() {
  if (machine_.dialect == Dialect::freebsd) {
    if (auto noted = note({Undo::Kind::disable_pf, {}}); !noted) return noted;
    const auto done = machine_.run({kPfctl, "-e"}, {});
    if (done && done->status != 0 && done->err.find("already enabled") != std::string::npos) {
      // Somebody was faster: it is not ours to disable.
      journal_.undo.pop_back();
      return file_.write(journal_);
    }
    if (!done) return done.error();
    if (done->status == 0) return {};
    return base::failure("cannot enable pf: {}", complaint(done->err));
  }
  if (auto noted = note({Undo::Kind::release_token, {}}); !noted) return noted;
  const auto enabled = run_or_fail(machine_, {kPfctl, "-E"}, "enable pf");
  if (!enabled) return enabled.error();
  const auto token = parse_token(enabled->err + "\n" + enabled->out);
  if (!token) return base::failure("`pfctl -E` gave no token for our reference to pf");
  journal_.undo.back().value = *token;
  return file_.write(journal_);
}

base::Result<> PfSession::refer_anchor() {
  const auto main = query_main(machine_);
  if (!main) return main.error();
  if (auto noted = note({Undo::Kind::restore_main, main_ruleset(*main, {})}); !noted) return noted;
  // Only translation and filter rules (-N, -R): options, tables and queues of others stay as they are.
  return run(machine_, {kPfctl, "-N", "-R", "-f", "-"}, "refer to our anchor in the main ruleset of pf",
             main_ruleset(*main, machine_.anchor));
}

// Exit codes mislead: pfctl loads into an anchor that nobody evaluates and is content.
base::Result<> PfSession::check_loaded() {
  const auto status = query_status(machine_);
  if (!status) return status.error();
  if (!status->enabled) return base::failure("pf is disabled although it was enabled a moment ago");
  if (!status->refers_to_anchor(machine_.anchor)) {
    return base::failure(
        "the main ruleset of pf does not refer to {}; put it into /etc/pf.conf by `osproxy rules "
        "--into /etc/pf.conf`",
        machine_.anchor);
  }
  const auto nat =
      run_or_fail(machine_, {kPfctl, "-a", machine_.anchor, "-s", "nat"}, "look at our rules in pf");
  if (!nat) return nat.error();
  if (nat->out.find("rdr") != std::string::npos) return {};
  return base::failure("pf has no redirect in the anchor {} although it was loaded a moment ago",
                       machine_.anchor);
}

}  // namespace pfctl
