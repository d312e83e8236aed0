// What to do about an administrator's changes during a run. Rules that were loaded anew did not mean us: ours
// come back. A pf that was disabled was meant to be: that stays, and is said.
#include <algorithm>

#include "pfctl/pf_load.h"
#include "pfctl/pf_plan.h"
#include "pfctl/pf_undo.h"

namespace pfctl {

std::vector<std::string> PfSession::put_right(const Loaded& loaded) {
  const auto status = query_status(machine_);
  // Asked again when there is a next time.
  if (!status) return {};
  seen_ = own_addresses(status->interfaces);
  if (!status->module_loaded || !status->enabled) return hinder(Standing::pf_disabled, *status);
  if (status->skips_lo0) return hinder(Standing::lo0_skipped, *status);
  const std::string unholdable = cannot_hold(*status, machine_, loaded.text);
  if (!unholdable.empty()) return give_way(unholdable);
  Lines lines;
  if (standing_ == Standing::nothing_held)
    lines.emplace_back("the main ruleset of pf leaves room for osproxy again: new connections are captured");
  if (standing_ == Standing::pf_disabled)
    lines.emplace_back("pf is enabled again, and new connections are captured");
  if (standing_ == Standing::lo0_skipped)
    lines.emplace_back("pf no longer skips lo0: new connections are captured");
  standing_ = Standing::in_force;
  // First what the rules need, then the rules, then what leads to them.
  auto done = put_loopback_back(*status, loaded.text, lines);
  if (done && !stopped_) done = put_anchor_back(loaded, lines);
  if (done) done = put_reference_back(*status, loaded, lines);
  const std::string trouble = done ? std::string() : done.error().text;
  // Rules that hold packets must not stay behind those of others.
  if (!done && holds_packets(loaded.text) && !own_.empty()) {
    if (const auto stopped = flush_own(); !stopped) lines.push_back(stopped.error().text);
  }
  if (!trouble.empty() && trouble != trouble_)
    lines.push_back(fmt::format("nothing is captured any more: others have changed pf, and {}", trouble));
  trouble_ = trouble;
  return lines;
}

/// Said once.
std::vector<std::string> PfSession::hinder(Standing standing, const Status& status) {
  if (standing == standing_) return {};
  standing_ = standing;
  if (standing == Standing::lo0_skipped) {
    // What is bent to lo0 would get nowhere.
    Lines lines{fmt::format("nothing is captured any more: pf skips lo0 now, and our rules are taken out; {}",
                            advice_on_skipping(machine_.dialect))};
    if (const auto stopped = flush_own(); !stopped) lines.push_back(stopped.error().text);
    return lines;
  }
  // Whoever enables it again does so for himself: then it is not ours to disable.
  std::erase_if(journal_.undo, [](const Undo& each) { return each.kind == Undo::Kind::disable_pf; });
  Lines lines{
      fmt::format("nothing is captured any more: {}; osproxy does not enable it again, but captures when "
                  "somebody does (pfctl {})",
                  status.module_loaded ? "pf was disabled" : "pf was unloaded",
                  machine_.dialect == Dialect::darwin ? "-E" : "-e")};
  if (const auto written = file_.write(journal_); !written) lines.push_back(written.error().text);
  return lines;
}

/// Rules that hold packets, beside rules of the user's with which they must not. Said once.
std::vector<std::string> PfSession::give_way(const std::string& why) {
  Lines lines;
  if (standing_ != Standing::nothing_held)
    lines.push_back(fmt::format(
        "nothing is captured any more: others have changed pf, and our rules are taken out: {}", why));
  standing_ = Standing::nothing_held;
  if (own_.empty()) return lines;
  if (const auto stopped = flush_own(); !stopped) lines.push_back(stopped.error().text);
  return lines;
}

base::Result<> PfSession::put_anchor_back(const Loaded& loaded, Lines& lines) {
  const auto shown = query_anchor(machine_);
  if (!shown) return shown.error();
  const bool out = own_.empty();
  const bool changed = *shown != own_;
  if (!out && !changed && seen_ == meant_ && loaded.text == text_) return {};
  if (auto done = load_own(loaded.text); !done) return done;
  if (out) return {};
  lines.push_back(
      changed ? fmt::format("the rules in pf's anchor {} were changed by others: ours are in force again",
                            machine_.anchor)
              : "this machine has other addresses now: the rules in pf know them");
  return {};
}

/// The listeners' addresses, and the interface that the rules name.
base::Result<> PfSession::put_loopback_back(const Status& status, const std::string& text, Lines& lines) {
  for (const auto& each : {loopback_.v4, loopback_.v6}) {
    if (each.is_unspecified() || std::ranges::count(seen_, each) > 0) continue;
    const std::string address = each.to_string();
    auto done = perform_again({Step::Kind::add_alias, address}, {Undo::Kind::remove_alias, address});
    if (!done) return done;
    seen_.insert(std::ranges::upper_bound(seen_, each), each);
    lines.push_back(fmt::format("lo0 had lost {}, osproxy's address: it has it again", address));
  }
  const std::string interface = kLoopbackInterface;
  if (text.find(interface) == std::string::npos) return {};
  if (std::ranges::count(status.interfaces, interface, &Interface::name) > 0) return {};
  auto done =
      perform_again({Step::Kind::create_loopback, interface}, {Undo::Kind::destroy_loopback, interface});
  if (done) lines.push_back(fmt::format("the interface {} was gone: it is there again", interface));
  return done;
}

/// What is noted once is undone once, after the rules.
base::Result<> PfSession::perform_again(const Step& step, Undo undo) {
  const bool noted = std::ranges::count(journal_.undo, undo) > 0;
  const auto kept = journal_.undo;
  const auto done = perform(step);
  if (done || noted) journal_.undo = kept;
  if (!done) return done;
  if (!noted) {
    journal_.undo.insert(journal_.undo.begin(), std::move(undo));
    ++prepared_;
  }
  return file_.write(journal_);
}

base::Result<> follow_tunnels(const Machine& machine, Ruleset& ruleset, Loaded& loaded) {
  auto tunnels = query_tunnels(machine);
  if (!tunnels) return tunnels.error();
  if (*tunnels == ruleset.tunnels) return {};
  const auto before = offer_of(ruleset, machine.dialect);
  if (!before) return before.error();
  ruleset.tunnels = std::move(*tunnels);
  auto now = offer_of(ruleset, machine.dialect);
  if (!now) return now.error();
  const bool refuses = !before->without_ipv6.empty() && loaded.text == before->without_ipv6;
  loaded.text = refuses ? std::move(now->without_ipv6) : std::move(now->text);
  return {};
}

base::Result<> PfSession::put_reference_back(const Status& status, const Loaded& loaded, Lines& lines) {
  const bool refers = status.refers_to_anchor(machine_.anchor);
  const std::string rival = rival_of(status, machine_, loaded.text);
  if (refers && rival.empty()) return {};
  if (auto done = refer_anchor(); !done) return done;
  lines.push_back(fmt::format(
      "the main ruleset of pf was changed by others and {}: it names {} in front of all "
      "others again",
      refers ? fmt::format("`{}` would come first", rival) : "no longer came to our rules", machine_.anchor));
  return {};
}

}  // namespace pfctl
