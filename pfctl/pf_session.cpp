// The steps of a plan, each one journalled before it is done, and the proof that they have led to
// something.
#include "pfctl/pf_session.h"

#include <algorithm>
#include <array>

#include <unistd.h>

#include "pfctl/pf_load.h"
#include "pfctl/pf_undo.h"

namespace pfctl {
namespace {

/// For documentation: routed like the rest of the world.
constexpr const char* kFarV4 = "198.51.100.77";
constexpr const char* kFarV6 = "2001:db8:6f73::77";

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

base::Result<> run(const Machine& machine, const std::vector<std::string>& argv,
                   std::string_view what, std::string_view input = {}) {
  const auto done = run_or_fail(machine, argv, what, input);
  if (!done) return done.error();
  return {};
}

constexpr std::string_view kInsertFailures = "state-insert";

std::optional<std::uint64_t> query_counter(const Machine& machine, std::string_view name) {
  const auto info = machine.run({kPfctl, "-s", "info"}, {});
  if (!info || info->status != 0) return {};
  return parse_counter(info->out, name);
}

/// What is left decides: a pfctl of FreeBSD 14 (a snapshot) clears them and then dies of a bug of
/// its own.
base::Result<> clear_states(const Machine& machine) {
  const auto cleared =
      run(machine, {kPfctl, "-F", "states"}, "clear the states that pf has left from before");
  if (cleared) return {};
  const auto left = machine.run({kPfctl, "-s", "states"}, {});
  const bool none =
      left && left->status == 0 && left->out.find_first_not_of(" \t\r\n") == std::string::npos;
  return none ? base::Result<>() : cleared;
}

/// Another connection has another state and other luck.
base::Result<ProbeResult> try_twice(const Probe& probe, bool ipv6) {
  auto tried = probe(ipv6);
  if (tried && *tried == ProbeResult::missed) tried = probe(ipv6);
  return tried;
}

/// macOS: the interface of a VPN through which an address far away is reached; empty: it is no VPN.
std::string tunnel_to_the_world(const Machine& machine, bool ipv6) {
  if (machine.dialect != Dialect::darwin) return {};
  const auto route =
      machine.run({kRoute, "-n", "get", ipv6 ? "-inet6" : "-inet", ipv6 ? kFarV6 : kFarV4}, {});
  if (!route || route->status != 0) return {};
  std::string interface = parse_route_interface(route->out);
  const bool tunnel =
      std::ranges::any_of(std::array{"utun", "ipsec", "ppp", "tun", "tap"},
                          [&](const char* kind) { return interface.starts_with(kind); });
  return tunnel ? interface : std::string();
}

}  // namespace

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

/// One step, however often it is written anew.
base::Result<> PfSession::note_main(std::string before) {
  const auto first = journal_.undo.begin() + static_cast<std::ptrdiff_t>(prepared_);
  const auto noted =
      std::ranges::find(first, journal_.undo.end(), Undo::Kind::restore_main, &Undo::kind);
  if (noted == journal_.undo.end()) return note({Undo::Kind::restore_main, std::move(before)});
  // What others have loaded since is theirs, with the references to us that it holds.
  if (!referred_.empty() && is_same_main(before, referred_)) return {};
  noted->value = referred_.empty() ? std::move(before)
                                   : without_own_references(before, referred_, machine_.anchor);
  return file_.write(journal_);
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
  if (auto written = file_.write(journal_); !written)
    undone.failures.push_back(written.error().text);
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
  const auto plan = plan_preparation(*status, preferred);
  if (!plan) return failed(plan.error());
  if (auto done = perform(plan->steps); !done) return failed(done.error());
  prepared_ = journal_.undo.size();
  loopback_ = plan->loopback;
  return plan->loopback;
}

base::Result<Loaded> PfSession::load(const RulesetVariants& offer, const Probe& probe) {
  Loaded loaded;
  stopped_ = false;
  standing_ = Standing::in_force;
  trouble_.clear();
  if (auto done = put_in_place(offer.text, loaded); !done) return failed(done.error());
  if (probe && offer.proof != RulesetVariants::Proof::none) {
    const auto proved = prove(probe, offer.proof == RulesetVariants::Proof::ipv6, loaded);
    if (!proved) return failed(proved.error());
  }
  if (auto warned = warn_of_rivals(loaded); !warned) return failed(warned.error());
  if (!probe || offer.without_ipv6.empty()) return loaded;
  if (auto settled = settle_ipv6(offer, probe, loaded); !settled) return failed(settled.error());
  return loaded;
}

base::Result<> PfSession::put_in_place(const std::string& text, Loaded& loaded) {
  const auto status = query_status(machine_);
  if (!status) return status.error();
  seen_ = own_addresses(status->interfaces);
  const auto steps = plan_loading(*status, machine_, text);
  if (!steps) return steps.error();
  if (auto done = perform(*steps); !done) return done;
  if (auto checked = check_loaded(); !checked) return checked;
  loaded.text = text;
  if (std::ranges::count(*steps, Step::Kind::refer_anchor, &Step::kind) == 0) return {};
  const std::string rival = rival_of(*status, machine_, text);
  loaded.notes.push_back(
      status->refers_to_anchor(machine_.anchor)
          ? fmt::format("`{}` in the main ruleset of pf would come before {}: the main ruleset "
                        "names it in front of all others while osproxy runs",
                        rival, machine_.anchor)
          : fmt::format("the main ruleset of pf did not refer to {}: it does while osproxy runs",
                        machine_.anchor));
  return {};
}

base::Result<> PfSession::prove(const Probe& probe, bool ipv6, Loaded& loaded) {
  const auto insert_failures = query_counter(machine_, kInsertFailures);
  auto tried = try_twice(probe, ipv6);
  const bool referred =
      std::ranges::count(journal_.undo, Undo::Kind::restore_main, &Undo::kind) > 0;
  if (tried && *tried == ProbeResult::missed && !referred && machine_.dialect == Dialect::freebsd) {
    tried = refer_and_try(probe, ipv6, loaded);
  }
  if (!tried) return tried.error();
  if (*tried != ProbeResult::missed) return {};
  return missed(ipv6, insert_failures);
}

/// A translation rule of others may come first: say our name, in front of all.
base::Result<ProbeResult> PfSession::refer_and_try(const Probe& probe, bool ipv6, Loaded& loaded) {
  if (auto done = refer_anchor(); !done) return done.error();
  loaded.notes.push_back(
      fmt::format("pf did not come to {} by itself: the main ruleset names it, in front of all "
                  "others, while osproxy runs",
                  machine_.anchor));
  return try_twice(probe, ipv6);
}

/// Why a connection to try the rules may not have arrived. Only what was seen is named.
base::Error PfSession::missed(bool ipv6, std::optional<std::uint64_t> insert_failures) {
  constexpr std::string_view kWhat =
      "pf has our rules, but a connection to try them did not arrive: ";
  const auto now = query_counter(machine_, kInsertFailures);
  if (insert_failures && now && *now > *insert_failures) {
    return base::failure(
        "{}pf could not enter its state (counter {}: {} more), most probably because states that "
        "are left from before pf was enabled have its number; `pfctl -F states` clears them, and "
        "cuts the connections that pf knows",
        kWhat, kInsertFailures, *now - *insert_failures);
  }
  const auto main = query_main(machine_);
  if (!main) return main.error();
  const std::string rival = first_to_decide(main->rules, machine_.anchor);
  if (!rival.empty())
    return base::failure("{}`{}` in its main ruleset decides first", kWhat, rival);
  const std::string tunnel = tunnel_to_the_world(machine_, ipv6);
  if (!tunnel.empty()) {
    return base::failure(
        "{}it leaves through {}, a VPN's interface, and macOS does not lead what has an address "
        "of a VPN over lo0; end the VPN, or leave {} out",
        kWhat, tunnel, ipv6 ? "IPv6" : "the VPN's networks");
  }
  return base::failure(
      "{}nothing in its main ruleset (pfctl -s rules) comes before them, so that something else "
      "than pf decides (a VPN, another packet filter)",
      kWhat);
}

base::Result<> PfSession::settle_ipv6(const RulesetVariants& offer, const Probe& probe,
                                      Loaded& loaded) {
  const auto tried = try_twice(probe, true);
  if (!tried) return tried.error();
  if (*tried != ProbeResult::missed) return {};
  // Its addresses are left alone, and nothing is known of the others'.
  if (!tunnel_to_the_world(machine_, true).empty()) return {};
  loaded.text = offer.without_ipv6;
  loaded.notes.emplace_back(
      "this machine's pf does not divert IPv6: it is refused, so that programs turn to IPv4");
  return load_own(loaded.text);
}

/// A connection that arrives shows nothing about other ports and addresses.
base::Result<> PfSession::warn_of_rivals(Loaded& loaded) {
  const auto main = query_main(machine_);
  if (!main) return main.error();
  if (auto caution = caution_by_owner(main->rules); !caution.empty())
    loaded.notes.push_back(std::move(caution));
  const std::string translates =
      machine_.dialect == Dialect::freebsd ? first_to_translate(main->nat, seen_) : std::string();
  if (!translates.empty()) {
    loaded.notes.push_back(fmt::format(
        "`{}` in the main ruleset of pf may translate connections of this machine's programs "
        "(jails included) before osproxy sees them: the owners of such connections are unknown to "
        "it",
        translates));
  }
  const std::string rival = first_to_decide(main->rules, machine_.anchor);
  if (rival.empty()) return {};
  loaded.notes.push_back(
      fmt::format("what `{}` in the main ruleset of pf decides on first is not captured: "
                  "osproxy's anchor follows it; {}",
                  rival, advice_on_reference(machine_)));
  return {};
}

base::Result<> PfSession::load_own(const std::string& text) {
  own_.clear();
  if (auto loaded = load_anchor(machine_, text); !loaded) return loaded;
  auto shown = query_anchor(machine_);
  if (!shown) return shown.error();
  own_ = std::move(*shown);
  meant_ = seen_;
  text_ = text;
  return {};
}

base::Result<> PfSession::flush_own() {
  const auto flushed =
      run(machine_, {kPfctl, "-a", machine_.anchor, "-F", "all"}, "take our rules out of pf");
  if (!flushed) return flushed;
  const auto left = query_anchor(machine_);
  if (!left) return left.error();
  if (is_blank(*left)) {
    own_.clear();
    return {};
  }
  return base::failure("pf still has rules in the anchor {} although it was flushed",
                       machine_.anchor);
}

base::Result<> PfSession::stop() {
  stopped_ = true;
  return flush_own();
}

base::Result<> PfSession::divert_again(const Loaded& loaded) {
  stopped_ = false;
  // put_right() loads them when others let it.
  if (standing_ != Standing::in_force) return {};
  return load_own(loaded.text);
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
      return run(machine_, {kIfconfig, "lo0", "mtu", std::to_string(kLargestMtu)},
                 "set the MTU of lo0");
    case Step::Kind::create_loopback:
      if (auto noted = note({Undo::Kind::destroy_loopback, step.value}); !noted) return noted;
      return run(machine_,
                 {kIfconfig, step.value, "create", "mtu", std::to_string(kLargestMtu), "up"},
                 "make the interface " + step.value);
    case Step::Kind::load_anchor:
      if (auto noted = note({Undo::Kind::flush_anchor, {}}); !noted) return noted;
      return load_own(step.value);
    case Step::Kind::refer_anchor:
      return refer_anchor();
    case Step::Kind::flush_states:
      return clear_states(machine_);
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
      // Others were faster: it is not ours to disable.
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
  constexpr int kMostAttempts = 5;
  for (int i = 0; i < kMostAttempts; ++i) {
    const auto main = query_main(machine_);
    if (!main) return main.error();
    if (const auto good = can_rewrite(*main, machine_); !good) {
      return base::failure("the main ruleset of pf is not written anew, for {}: {}",
                           good.error().text, advice_on_reference(machine_));
    }
    const std::string before = main_ruleset(*main, {});
    if (auto noted = note_main(before); !noted) return noted;
    // The disk may have taken its time, in which others have loaded another one.
    const auto now = query_main(machine_);
    if (!now) return now.error();
    if (*now != *main) continue;
    std::string text = main_ruleset(*main, machine_.anchor);
    const auto loaded =
        load_main(machine_, text, before, "refer to our anchor in the main ruleset of pf");
    if (!loaded) {
      return base::failure("{}; to have it refer to it, {}", loaded.error().text,
                           advice_on_reference(machine_));
    }
    if (*loaded == MainLoad::overtaken) continue;
    referred_ = std::move(text);
    return {};
  }
  return base::failure("others load the main ruleset of pf again and again while it is read");
}

// Exit codes mislead: pfctl loads into an anchor that is not evaluated, and reports success.
base::Result<> PfSession::check_loaded() {
  const auto status = query_status(machine_);
  if (!status) return status.error();
  if (!status->enabled) return base::failure("pf is disabled although it was enabled a moment ago");
  if (!status->refers_to_anchor(machine_.anchor)) {
    return base::failure(
        "the main ruleset of pf does not refer to {} although it did a moment ago; {}",
        machine_.anchor, advice_on_reference(machine_));
  }
  const auto rules = query_anchor(machine_);
  if (!rules) return rules.error();
  if (rules->find("rdr") != std::string::npos) return {};
  return base::failure("pf has no redirect in the anchor {} although it was loaded a moment ago",
                       machine_.anchor);
}

}  // namespace pfctl
