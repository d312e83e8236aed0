// One run's changes to pf: made step by step, watched over, and undone.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/network.h"
#include "pfctl/pf_journal.h"
#include "pfctl/pf_plan.h"
#include "pfctl/pf_query.h"
#include "pfctl/probe.h"

namespace pfctl {

/// What was put right: a line each. What could not be stays in the journal.
struct Undone {
  std::vector<std::string> lines;
  std::vector<std::string> failures;
};

/// What load() has put in place.
struct Loaded {
  std::string text;
  std::vector<std::string> notes;  ///< what the user should know of, a line each
};

/// macOS: `loaded`, which was made of `ruleset`, and that with the VPN addresses that there are now
/// (PfSession::put_right then loads the new text). Errors: ifconfig's, render_pf's.
[[nodiscard]] base::Result<> follow_tunnels(const Machine& machine, Ruleset& ruleset,
                                            Loaded& loaded);

/// One osproxy's hold on pf. Undoes what it did when it is destroyed.
class PfSession {
 public:
  PfSession(Machine machine, JournalFile file)
      : machine_(std::move(machine)), file_(std::move(file)) {}
  PfSession(PfSession&&) noexcept = default;
  PfSession& operator=(PfSession&&) = delete;
  ~PfSession();

  /// Undoes what an osproxy that is gone left in the journal. Before anything else. What cannot be
  /// undone does not prevent a start: it stays in the journal, and is tried again when this session
  /// ends. Error: the journal is damaged.
  [[nodiscard]] base::Result<Undone> clean_up();

  /// Loads pf where it is a module, gives lo0 the addresses that listeners can then be bound to,
  /// and the MTU that large segments need. On failure everything is as before.
  [[nodiscard]] base::Result<Loopback> prepare(const Loopback& preferred);

  /// From here on connections are diverted: the rules are in place, pf enabled. A connection proves
  /// it: without a probe only what pf says is believed. Where IPv6 does not arrive it is refused:
  /// better none than one that times out. On failure everything is as prepare() left it.
  [[nodiscard]] base::Result<Loaded> load(const RulesetVariants& offer, const Probe& probe);

  /// Back to what prepare() left.
  Undone unload();

  /// New connections go their own way; those that are diverted live on: pf keeps their states.
  [[nodiscard]] base::Result<> stop();
  /// Takes that back: what load() had put in place is there again, unless others keep it out
  /// (put_right()).
  [[nodiscard]] base::Result<> divert_again(const Loaded& loaded);

  /// What others have done to pf since load(), and what was done about it: a line each. Where only
  /// rules were replaced, ours are in force again; when this machine has other addresses, or
  /// `loaded` another text, they are loaded anew. An administrator's `pfctl -d` is not undone.
  [[nodiscard]] std::vector<std::string> put_right(const Loaded& loaded);
  /// Whether nothing is left to be put right while pf is as in `view`: all is in force, or what
  /// keeps it out was told.
  [[nodiscard]] bool is_settled(const PfView& view, const Loaded& loaded) const;

  /// In reverse, each step tried whatever became of the others. What cannot be undone stays in the
  /// journal.
  [[nodiscard]] Undone undo();

  /// In a forked child: the journal is its parent's.
  void abandon();

 private:
  using Lines = std::vector<std::string>;
  /// What others leave us.
  enum class Standing : std::uint8_t { in_force, pf_disabled, lo0_skipped, nothing_held };

  base::Result<> perform(const std::vector<Step>& steps);
  base::Result<> perform(const Step& step);
  base::Result<> load_module(const std::string& name);
  base::Result<> enable();
  base::Result<> refer_anchor();
  base::Result<> put_in_place(const std::string& text, Loaded& loaded);
  base::Result<> check_loaded();
  base::Result<> prove(const Probe& probe, bool ipv6, Loaded& loaded);
  base::Result<ProbeResult> refer_and_try(const Probe& probe, bool ipv6, Loaded& loaded);
  base::Error missed(bool ipv6, std::optional<std::uint64_t> insert_failures);
  base::Result<> settle_ipv6(const RulesetVariants& offer, const Probe& probe, Loaded& loaded);
  base::Result<> warn_of_rivals(Loaded& loaded);
  base::Result<> note(Undo undo);
  base::Result<> note_main(std::string before);
  void forget_disabling(Lines& lines);
  void leave_enabled(const Status& status, Lines& lines);
  base::Result<> leave_main(const Status& status);
  base::Result<> load_own(const std::string& text);
  base::Result<> flush_own();
  base::Result<> take_own_out();
  void take_out_or_tell(Lines& lines);
  std::vector<std::string> hinder(Standing standing, const Status& status);
  std::vector<std::string> give_way(const std::string& why);
  base::Result<> put_reference_back(const Status& status, const Loaded& loaded, Lines& lines);
  base::Result<> put_anchor_back(const Loaded& loaded, Lines& lines);
  base::Result<> put_loopback_back(const Status& status, const std::string& text, Lines& lines);
  base::Result<> perform_again(const Step& step, Undo undo);
  Undone undo_down_to(std::size_t steps);
  base::Error failed(base::Error error);

  Machine machine_;
  JournalFile file_;
  Journal journal_;
  std::size_t prepared_ = 0;          ///< steps of the journal that are prepare()'s
  std::string own_;                   ///< what pfctl shows of our anchor; empty: nothing was loaded
  std::string referred_;              ///< the main ruleset that refer_anchor() loaded last
  bool stopped_ = false;              ///< by stop()
  Loopback loopback_;                 ///< what prepare() gave
  std::vector<base::Address> seen_;   ///< this machine's, when it was looked at last
  std::vector<base::Address> meant_;  ///< those that our rules were loaded with,
  std::string text_;                  ///< and their text
  Standing standing_ = Standing::in_force;
  std::string trouble_;  ///< why our rules could not be put in force again, as it was told last
};

}  // namespace pfctl
