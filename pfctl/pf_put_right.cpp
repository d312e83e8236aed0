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
  // First the rules, then what leads to them.
  base::Result<> done;
  if (!stopped_) done = put_anchor_back(loaded, lines);
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
    lines.push_back(
        fmt::format("nothing is captured any more: others have changed pf, and our rules are taken out: {}",
                    why));
  standing_ = Standing::nothing_held;
  if (own_.empty()) return lines;
  if (const auto stopped = flush_own(); !stopped) lines.push_back(stopped.error().text);
  return lines;
}

base::Result<> PfSession::put_anchor_back(const Loaded& loaded, Lines& lines) {
  const auto shown = query_anchor(machine_);
  if (!shown) return shown.error();
  if (!own_.empty() && *shown == own_) return {};
  if (auto done = load_own(loaded.text); !done) return done;
  lines.push_back(fmt::format("the rules in pf's anchor {} were changed by others: ours are in force again",
                              machine_.anchor));
  return {};
}

base::Result<> PfSession::put_reference_back(const Status& status, const Loaded& loaded, Lines& lines) {
  const bool refers = status.refers_to_anchor(machine_.anchor);
  const std::string rival = rival_of(status, machine_, loaded.text);
  if (refers && rival.empty()) return {};
  if (auto done = refer_anchor(); !done) return done;
  lines.push_back(
      fmt::format("the main ruleset of pf was changed by others and {}: it names {} in front of all "
                  "others again",
                  refers ? fmt::format("`{}` would come first", rival) : "no longer came to our rules",
                  machine_.anchor));
  return {};
}

}  // namespace pfctl
