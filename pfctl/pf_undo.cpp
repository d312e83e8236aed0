// Each step is undone by looking first: after a crash it is unknown how far it came, and what was
// changed since by others is theirs.
#include "pfctl/pf_undo.h"

#include <algorithm>

#include "pfctl/pf_load.h"

namespace pfctl {
namespace {

using Kind = Undo::Kind;

base::Result<bool> is_enabled(const Machine& machine) {
  const auto info = run_or_fail(machine, {kPfctl, "-s", "info"}, "ask whether pf is enabled");
  if (!info) return info.error();
  return parse_enabled(info->out);
}

base::Result<std::optional<Interface>> query_lo0(const Machine& machine) {
  const auto text = run_or_fail(machine, {kIfconfig, "lo0"}, "look at lo0");
  if (!text) return text.error();
  auto found = parse_ifconfig(text->out);
  if (found.empty()) return std::optional<Interface>{};
  return std::optional{std::move(found.front())};
}

/// FreeBSD: those of connections that were bent to lo0, and (-M) their other halves there. They
/// would outlive the rules by up to a day, and take the packets of a new connection with the same
/// ends for the old one's. One that is not there is no failure; nor is a pfctl that cannot do this.
void kill_bent_states(const Machine& machine) {
  if (machine.dialect == Dialect::freebsd)
    (void)machine.run({kPfctl, "-M", "-k", "label", "-k", kBentLabel}, {});
}

/// macOS's pfctl knows no labels there, but a state of what was redirected has the listener as its
/// destination.
void kill_redirected_states(const Machine& machine, const base::Address& listener) {
  if (machine.dialect != Dialect::darwin) return;
  const char* any_source = listener.is_v4() ? "0.0.0.0/0" : "::/0";
  (void)machine.run({kPfctl, "-k", any_source, "-k", listener.to_string()}, {});
}

/// Each pfctl reports a missing anchor in its own way: some flush it all the
/// same, some exit with 1. What can be seen of it decides.
base::Result<std::string> flush_anchor(const Machine& machine) {
  const auto flushed = machine.run({kPfctl, "-a", machine.anchor, "-F", "all"}, {});
  if (!flushed) return flushed.error();
  const auto left = query_anchor(machine);
  if (!left) return left.error();
  if (!is_blank(*left)) {
    return base::failure("cannot flush our anchor {}: {}", machine.anchor, complaint(flushed->err));
  }
  kill_bent_states(machine);
  if (flushed->status == 0) return fmt::format("flushed the anchor {}", machine.anchor);
  // A pf that cannot be asked shows nothing either.
  if (const auto enabled = is_enabled(machine); !enabled) return enabled.error();
  return std::string{};
}

base::Result<std::string> release_token(const Machine& machine, const std::string& token) {
  if (token.empty()) {
    return std::string(
        "pf may have been left enabled for us; `pfctl -s References` lists who wants it, `pfctl "
        "-X TOKEN` releases one");
  }
  const auto released = run_or_fail(machine, {kPfctl, "-X", token}, "release our reference to pf");
  if (released) return fmt::format("released our reference to pf ({})", token);
  // A `pfctl -d` makes all tokens void.
  const auto listed = machine.run({kPfctl, "-s", "References"}, {});
  if (listed && listed->status == 0 && !lists_token(listed->out + listed->err, token))
    return std::string{};
  return released.error();
}

base::Result<std::string> restore_main(const Machine& machine, const std::string& before) {
  const auto main = query_main(machine);
  if (!main) return main.error();
  const std::string running = main_ruleset(*main, {});
  if (running == before) return std::string{};
  const std::string others = without_references(running, machine.anchor);
  // Without a reference to us, others have loaded another one.
  if (others == running) return std::string{};
  // Neither is one that refers to us ours to change: they may have added the lines by hand, and it
  // may hold what pfctl does not read back.
  if (!is_same_main(others, without_references(before, machine.anchor))) {
    return fmt::format(
        "left the main ruleset of pf as others have "
        "loaded it since: it refers to {}, which is empty now",
        machine.anchor);
  }
  const auto loaded = load_main(machine, before, running, "put the main ruleset of pf back");
  if (!loaded) return loaded.error();
  if (*loaded == MainLoad::overtaken) return std::string{};
  return std::string("took our anchor out of the main ruleset of pf");
}

/// Others who load rules while osproxy runs mean them to be in force, and find pf enabled: `service
/// pf start` then does not enable it. At the start there were none (plan_loading). Empty: there are
/// none.
base::Result<std::string> rule_of_others(const Machine& machine) {
  const auto main = query_main(machine);
  if (!main) return main.error();
  return first_of_others(*main, machine.anchor);
}

base::Result<std::string> disable_pf(const Machine& machine) {
  const auto enabled = is_enabled(machine);
  if (!enabled) return enabled.error();
  if (!*enabled) return std::string{};
  const auto rule = rule_of_others(machine);
  if (!rule) return rule.error();
  if (!rule->empty()) {
    return fmt::format(
        "left pf enabled: others have loaded rules into its main ruleset since (`{}`)", *rule);
  }
  if (auto done = run_or_fail(machine, {kPfctl, "-d"}, "disable pf"); !done) return done.error();
  // pf was off before: the states are all of our time, and would be in the way when it is enabled
  // again.
  (void)machine.run({kPfctl, "-F", "states"}, {});
  return std::string("disabled pf");
}

base::Result<std::string> remove_alias(const Machine& machine, const std::string& text) {
  const auto lo0 = query_lo0(machine);
  if (!lo0) return lo0.error();
  const auto address = boost::asio::ip::make_address(text);
  if (!*lo0 || std::ranges::count((*lo0)->addresses, address) == 0) return std::string{};
  kill_redirected_states(machine, address);
  const auto done =
      run_or_fail(machine, {kIfconfig, "lo0", address.is_v4() ? "inet" : "inet6", text, "-alias"},
                  "take an address from lo0");
  if (!done) return done.error();
  return fmt::format("took {} from lo0", text);
}

base::Result<std::string> destroy_loopback(const Machine& machine, const std::string& name) {
  const auto shown = machine.run({kIfconfig, name}, {});
  if (!shown) return shown.error();
  if (shown->status != 0) return std::string{};
  if (auto done =
          run_or_fail(machine, {kIfconfig, name, "destroy"}, "destroy the interface " + name);
      !done)
    return done.error();
  return fmt::format("destroyed the interface {}", name);
}

base::Result<std::string> set_mtu(const Machine& machine, const std::string& before) {
  const auto lo0 = query_lo0(machine);
  if (!lo0) return lo0.error();
  if (!*lo0 || (*lo0)->mtu != kLargestMtu) return std::string{};
  if (auto done = run_or_fail(machine, {kIfconfig, "lo0", "mtu", before}, "set the MTU of lo0");
      !done) {
    return done.error();
  }
  return fmt::format("set the MTU of lo0 back to {}", before);
}

base::Result<std::string> unload_module(const Machine& machine, const std::string& name) {
  const auto loaded = machine.run({kKldstat, "-q", "-m", name}, {});
  if (!loaded) return loaded.error();
  if (loaded->status != 0) return std::string{};
  if (name == "pf") {
    const auto enabled = is_enabled(machine);
    if (!enabled) return enabled.error();
    if (*enabled) return std::string("left the module pf loaded: another program uses it by now");
    const auto rule = rule_of_others(machine);
    if (!rule) return rule.error();
    if (!rule->empty()) {
      return fmt::format(
          "left the module pf loaded: others have loaded rules into its main ruleset (`{}`)",
          *rule);
    }
  }
  const auto done = machine.run({kKldunload, name}, {});
  if (!done) return done.error();
  if (done->status == 0) return fmt::format("unloaded the module {}", name);
  // It does no harm, and what keeps it is not ours.
  return fmt::format("left the module {} loaded: {}", name, complaint(done->err));
}

/// Gone with pf itself.
bool is_in_pf(Kind kind) {
  return kind == Kind::flush_anchor || kind == Kind::restore_main || kind == Kind::disable_pf;
}

}  // namespace

base::Result<std::string> undo_step(const Machine& machine, const Undo& undo) {
  if (is_in_pf(undo.kind)) {
    const auto there = has_pf(machine);
    if (!there) return there.error();
    if (!*there) return std::string{};
  }
  switch (undo.kind) {
    case Kind::flush_anchor:
      return flush_anchor(machine);
    case Kind::release_token:
      return release_token(machine, undo.value);
    case Kind::restore_main:
      return restore_main(machine, undo.value);
    case Kind::disable_pf:
      return disable_pf(machine);
    case Kind::remove_alias:
      return remove_alias(machine, undo.value);
    case Kind::destroy_loopback:
      return destroy_loopback(machine, undo.value);
    case Kind::set_mtu:
      return set_mtu(machine, undo.value);
    case Kind::unload_module:
      return unload_module(machine, undo.value);
  }
  return std::string{};
}

base::Result<> flush_rules_of(const Machine& machine, const std::string& path, long owner) {
  const auto journal = read_journal(path);
  if (!journal) return journal.error();
  const bool loaded = std::ranges::count(journal->undo, Kind::flush_anchor, &Undo::kind) > 0;
  if (journal->pid != owner || !loaded) return {};
  // The states stay: by them resets of the worker, which is about to end, find their way.
  const auto flushed =
      run_or_fail(machine, {kPfctl, "-a", machine.anchor, "-F", "all"}, "take our rules out of pf");
  if (!flushed) return flushed.error();
  return {};
}

}  // namespace pfctl
