// What to do about an administrator's changes during a run. Rules that were loaded anew did not
// mean us: ours come back. A pf that was disabled was meant to be: that stays, and is said.
#include <algorithm>

#include "pfctl/pf_load.h"
#include "pfctl/pf_session.h"

namespace pfctl {

std::vector<std::string> PfSession::put_right(const Loaded& loaded) {
  const auto status = query_status(machine_);
  // is_settled() then decides by what the watch sees.
  if (!status) return {};
  seen_ = own_addresses(status->interfaces);
  if (!status->module_loaded || !status->enabled) return hinder(Standing::pf_disabled, *status);
  Lines lines;
  leave_enabled(*status, lines);
  const auto with = [&](Lines more) {
    std::ranges::move(more, std::back_inserter(lines));
    return lines;
  };
  if (status->skips_lo0) return with(hinder(Standing::lo0_skipped, *status));
  if (const auto holdable = can_hold(*status, machine_, loaded.text); !holdable)
    return with(give_way(holdable.error().text));
  if (standing_ == Standing::nothing_held)
    lines.emplace_back(
        "the main ruleset of pf leaves room for osproxy again: new connections are captured");
  if (standing_ == Standing::pf_disabled)
    lines.emplace_back("pf is enabled again, and new connections are captured");
  if (standing_ == Standing::lo0_skipped)
    lines.emplace_back("pf no longer skips lo0: new connections are captured");
  standing_ = Standing::in_force;
  // First what the rules need, then the rules, then what leads to them.
  auto done = put_loopback_back(*status, loaded.text, lines);
  if (done) done = stopped_ ? take_own_out() : put_anchor_back(loaded, lines);
  if (done) done = put_reference_back(*status, loaded, lines);
  const std::string trouble = done ? std::string() : done.error().text;
  // Rules that hold packets must not stay behind those of others.
  if (!done && holds_packets(loaded.text) && !own_.empty()) {
    if (const auto stopped = flush_own(); !stopped) lines.push_back(stopped.error().text);
  }
  if (!trouble.empty() && trouble != trouble_)
    lines.push_back(
        fmt::format("nothing is captured any more: others have changed pf, and {}", trouble));
  if (trouble.empty() && !trouble_.empty())
    lines.emplace_back("new connections are captured again");
  trouble_ = trouble;
  return lines;
}

bool PfSession::is_settled(const PfView& view, const Loaded& loaded) const {
  if (standing_ == Standing::pf_disabled) return !view.enabled;
  if (!view.enabled || !trouble_.empty()) return false;
  const bool out = is_blank(view.anchor);
  if (standing_ == Standing::lo0_skipped) return view.skips_lo0 && out;
  Status status;
  status.main = view.main;
  status.interfaces.push_back({.name = {}, .networks = {}, .addresses = view.addresses});
  const bool holdable = can_hold(status, machine_, loaded.text).has_value();
  if (view.skips_lo0 || holdable != (standing_ == Standing::in_force)) return false;
  if (standing_ == Standing::nothing_held) return out;
  if (!status.refers_to_anchor(machine_.anchor) || !rival_of(status, machine_, loaded.text).empty())
    return false;
  if (stopped_) return out;
  return !out && view.anchor == own_ && view.addresses == meant_ && loaded.text == text_;
}

/// Said once, and done until it is done.
std::vector<std::string> PfSession::hinder(Standing standing, const Status& status) {
  const bool news = standing != standing_;
  standing_ = standing;
  if (standing == Standing::lo0_skipped) {
    // What is bent to lo0 would get nowhere.
    Lines trouble;
    take_out_or_tell(trouble);
    Lines lines;
    if (news) {
      lines.push_back(fmt::format("nothing is captured any more: pf skips lo0 now{}; {}",
                                  trouble_.empty() ? ", and our rules are taken out" : "",
                                  advice_on_skipping(machine_.dialect)));
    }
    std::ranges::move(trouble, std::back_inserter(lines));
    return lines;
  }
  if (!news) return {};
  trouble_.clear();
  Lines lines{
      fmt::format("nothing is captured any more: {}; osproxy does not enable it again, but "
                  "captures when it is enabled (pfctl {})",
                  status.module_loaded ? "pf was disabled" : "pf was unloaded",
                  machine_.dialect == Dialect::darwin ? "-E" : "-e")};
  // If others enable it again, it is not ours to disable.
  forget_disabling(lines);
  return lines;
}

/// Rules that hold packets, beside rules of the user's with which they must not. Said once.
std::vector<std::string> PfSession::give_way(const std::string& why) {
  Lines lines;
  if (standing_ != Standing::nothing_held)
    lines.push_back(fmt::format(
        "nothing is captured any more: others have changed pf, and our rules are taken out: {}",
        why));
  standing_ = Standing::nothing_held;
  take_out_or_tell(lines);
  return lines;
}

void PfSession::forget_disabling(Lines& lines) {
  const auto is_disabling = [](const Undo& each) { return each.kind == Undo::Kind::disable_pf; };
  const auto prepared = journal_.undo.begin() + static_cast<std::ptrdiff_t>(prepared_);
  prepared_ -=
      static_cast<std::size_t>(std::count_if(journal_.undo.begin(), prepared, is_disabling));
  std::erase_if(journal_.undo, is_disabling);
  if (const auto written = file_.write(journal_); !written) lines.push_back(written.error().text);
}

/// Others who load rules mean them to be in force, and do not enable a pf that is enabled.
void PfSession::leave_enabled(const Status& status, Lines& lines) {
  if (std::ranges::count(journal_.undo, Undo::Kind::disable_pf, &Undo::kind) == 0) return;
  const std::string rule = first_of_others(status.main, machine_.anchor);
  if (rule.empty()) return;
  lines.push_back(fmt::format(
      "others have loaded rules into pf's main ruleset (`{}`): osproxy had enabled pf, and leaves "
      "it enabled when it ends",
      rule));
  forget_disabling(lines);
}

void PfSession::take_out_or_tell(Lines& lines) {
  const auto out = take_own_out();
  const std::string trouble = out ? std::string() : out.error().text;
  if (!trouble.empty() && trouble != trouble_) lines.push_back(trouble);
  trouble_ = trouble;
}

base::Result<> PfSession::take_own_out() {
  const auto shown = query_anchor(machine_);
  if (!shown) return shown.error();
  if (!is_blank(*shown)) return flush_own();
  own_.clear();
  return {};
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
      changed ? fmt::format(
                    "the rules in pf's anchor {} were changed by others: ours are in force again",
                    machine_.anchor)
              : "this machine has other addresses now: the rules in pf know them");
  return {};
}

/// The listeners' addresses, and the interface that the rules name.
base::Result<> PfSession::put_loopback_back(const Status& status, const std::string& text,
                                            Lines& lines) {
  for (const auto& each : {loopback_.v4, loopback_.v6}) {
    if (each.is_unspecified() || std::ranges::count(seen_, each) > 0) continue;
    const std::string address = each.to_string();
    auto done =
        perform_again({Step::Kind::add_alias, address}, {Undo::Kind::remove_alias, address});
    if (!done) return done;
    seen_.insert(std::ranges::upper_bound(seen_, each), each);
    lines.push_back(fmt::format("lo0 had lost {}, osproxy's address: it has it again", address));
  }
  const std::string interface = kLoopbackInterface;
  if (text.find(interface) == std::string::npos) return {};
  if (std::ranges::count(status.interfaces, interface, &Interface::name) > 0) return {};
  auto done = perform_again({Step::Kind::create_loopback, interface},
                            {Undo::Kind::destroy_loopback, interface});
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

/// One that refers to us and is not what we loaded is what others want, references included.
base::Result<> PfSession::leave_main(const Status& status) {
  const auto prepared = journal_.undo.begin() + static_cast<std::ptrdiff_t>(prepared_);
  const auto noted = std::find_if(prepared, journal_.undo.end(), [](const Undo& each) {
    return each.kind == Undo::Kind::restore_main;
  });
  const std::string main = main_ruleset(status.main, {});
  if (noted == journal_.undo.end() || noted->value == main) return {};
  return note_main(main);
}

base::Result<> PfSession::put_reference_back(const Status& status, const Loaded& loaded,
                                             Lines& lines) {
  const bool refers = status.refers_to_anchor(machine_.anchor);
  const std::string rival = rival_of(status, machine_, loaded.text);
  if (refers && rival.empty()) return leave_main(status);
  if (auto done = refer_anchor(); !done) return done;
  lines.push_back(fmt::format(
      "the main ruleset of pf was changed by others and {}: it names {} in front of all others "
      "again",
      refers ? fmt::format("`{}` would come first", rival) : "no longer came to our rules",
      machine_.anchor));
  return {};
}

}  // namespace pfctl
