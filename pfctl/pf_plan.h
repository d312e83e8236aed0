// The steps that make a machine's pf divert to us, and their undoing. Everything is journalled
// before it is done; the programs that do it are called through a Runner, so that all of this is
// tried on machines that are not there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/network.h"
#include "pfctl/loader.h"
#include "pfctl/pf.h"
#include "pfctl/pf_journal.h"
#include "pfctl/pf_status.h"
#include "pfctl/run_program.h"

namespace pfctl {

/// darwin or freebsd.
struct Machine {
  Dialect dialect = Dialect::freebsd;
  std::string anchor;  ///< anchor_of(dialect)
  Runner run;
  std::string conf = "/etc/pf.conf";  ///< what the main ruleset is loaded from
};

/// The one that this program runs on; only where it has pf.
Machine this_machine();

/// What matters of a machine before it is changed.
struct Status {
  bool module_loaded = true;  ///< FreeBSD: pf is in the kernel
  bool enabled = false;
  bool skips_lo0 = false;
  MainRuleset main;
  std::vector<Interface> interfaces;
  std::vector<base::Network> routes;

  /// Both anchors: the translation's and the filter's.
  [[nodiscard]] bool refers_to_anchor(std::string_view anchor) const;
};

/// Of all interfaces, sorted.
std::vector<base::Address> own_addresses(const std::vector<Interface>& interfaces);
/// The same, asked of ifconfig now.
[[nodiscard]] base::Result<std::vector<base::Address>> query_addresses(const Machine& machine);

/// Asks pfctl, ifconfig, netstat and kldstat; changes nothing.
[[nodiscard]] base::Result<Status> query_status(const Machine& machine);

/// Addresses of lo0 that the listeners are bound to; unspecified: not wanted.
struct Loopback {
  base::Address v4 = boost::asio::ip::address_v4();
  base::Address v6 = boost::asio::ip::address_v6();

  bool operator==(const Loopback&) const = default;
};

struct Step {
  enum class Kind : std::uint8_t {
    load_module,      ///< value: its name
    add_alias,        ///< an address for lo0
    set_mtu,          ///< of lo0 to the largest; the one it has
    create_loopback,  ///< an interface that the rules name
    load_anchor,      ///< the rules as text
    refer_anchor,     ///< empty: the running main ruleset, with references to our anchor in front
    flush_states,     ///< empty: all of pf's states, while it is disabled
    enable,           ///< empty
  };

  Kind kind = Kind::load_anchor;
  std::string value;

  bool operator==(const Step&) const = default;
};

struct Preparation {
  Loopback loopback;
  std::vector<Step> steps;
};

/// `preferred`, or another address where an interface or route covers it (198.18.0.0/15 is where
/// sing-box, mihomo and Surge put names' fake addresses as well). An address that lo0 has already
/// is taken as it is. Error: all candidates are covered.
[[nodiscard]] base::Result<Preparation> plan_preparation(const Status& status,
                                                         const Loopback& preferred);

/// What the user can do when pf skips lo0. We change nothing there.
std::string advice_on_skipping(Dialect dialect);

/// macOS: IPv6 addresses of VPN interfaces (Ruleset::tunnels); elsewhere none.
[[nodiscard]] base::Result<std::vector<base::Address>> query_tunnels(const Machine& machine);

/// FreeBSD: whether an anchor with this text holds first packets (divert(4)) until their verdict.
bool holds_packets(std::string_view text);

/// FreeBSD: the rule of others that our anchor, which contains `text`, must stand in front of and
/// does not; empty: none. Where the main ruleset cannot be written anew only an anchor that holds
/// packets has one: any other works behind other rules, but for what they decide.
std::string rival_of(const Status& status, const Machine& machine, std::string_view text);

/// Why first packets must not be held with this main ruleset, if `text` does that: the user's own
/// rules would lose their say, or connections their way. Empty: they may.
std::string cannot_hold(const Status& status, const Machine& machine, std::string_view text);

/// `text`: the anchor. Errors: pf skips lo0; FreeBSD: pf is disabled and would, enabled, put rules
/// of others in force; packets cannot be held (cannot_hold); the main ruleset has to be written
/// anew and cannot be.
[[nodiscard]] base::Result<std::vector<Step>> plan_loading(const Status& status,
                                                           const Machine& machine,
                                                           std::string text);

/// What was put right: a line each. What could not be stays in the journal.
struct Undone {
  std::vector<std::string> lines;
  std::vector<std::string> failures;
};

struct PfView;

/// What load() puts in place, and how that is tried.
struct RulesetVariants {
  enum class Proof : std::uint8_t { none, ipv4, ipv6 };

  std::string text;  ///< render_pf
  /// The family whose connections come to the listeners by themselves, so that one can show whether
  /// the rules are in force; none: all are held for a verdict.
  Proof proof = Proof::none;
  /// The same with IPv6 refused, for when only IPv6 does not arrive; empty: IPv6 is not diverted,
  /// or alone.
  std::string without_ipv6;
};

/// Errors: render_pf's.
[[nodiscard]] base::Result<RulesetVariants> offer_of(const Ruleset& ruleset, Dialect dialect);

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
  /// undone stands in nobody's way: it stays in the journal, and is tried again when this session
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
  /// Takes that back: what load() had put in place stands again, unless others keep it out
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
