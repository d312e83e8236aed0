// Rules in the kernel. Installed rules are an object: they are gone when it is destroyed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/network.h"
#include "pfctl/probe.h"
#include "pfctl/rules_owner.h"
#include "pfctl/ruleset.h"
#include "pfctl/standing.h"

namespace pfctl {

/// Where diverted connections land: addresses of this machine for the listeners, there before the
/// rules are. Linux: 127.0.0.1 and ::1. pf: aliases of lo0 (from 127.0.0.1 a reset would not find
/// its way back).
class RedirectTarget {
 public:
  /// Of each system. The addresses go with the last that holds it: when the rules that were loaded
  /// with them have gone as well.
  struct Hold;

  /// Families that are not wanted, or that this machine does not have, have an unspecified address.
  /// Errors: another osproxy has rules in place (names its pid); Linux: a table of ours without an
  /// owner; pf: what pfctl, ifconfig or kldload say. pf: what a killed osproxy left is put right
  /// first.
  [[nodiscard]] static base::Result<RedirectTarget> prepare(bool ipv4, bool ipv6);

  [[nodiscard]] const base::Address& v4() const { return v4_; }
  [[nodiscard]] const base::Address& v6() const { return v6_; }
  /// What was put right of an earlier run, a line each.
  [[nodiscard]] const std::vector<std::string>& cleaned() const { return cleaned_; }
  /// For a child that was forked: releases what it shares with its parent and undoes nothing.
  void abandon();

  [[nodiscard]] const std::shared_ptr<Hold>& hold() const { return hold_; }

 private:
  RedirectTarget(std::shared_ptr<Hold> hold, base::Address v4, base::Address v6,
                 std::vector<std::string> cleaned)
      : hold_(std::move(hold)),
        v4_(std::move(v4)),
        v6_(std::move(v6)),
        cleaned_(std::move(cleaned)) {}

  std::shared_ptr<Hold> hold_;
  base::Address v4_;
  base::Address v6_;
  std::vector<std::string> cleaned_;
};

/// Rules that are in place. On Linux the table belongs to the netlink socket held here (`flags
/// owner`, Linux 5.12): no other process can change it and it is gone when the process ends,
/// however it ends. So the descriptor must not be inherited by any other process (it is
/// close-on-exec; do not fork while holding one without closing it). pf has no owners: there a
/// journal on disk says what has to be undone (pf_journal.h).
class LoadedRules {
 public:
  struct Hold;  ///< of the system that the rules are loaded into
  explicit LoadedRules(std::unique_ptr<Hold> hold);

  LoadedRules(LoadedRules&&) noexcept;
  LoadedRules& operator=(LoadedRules&&) noexcept;
  /// Takes the rules out. Connections that are diverted die of it, unless other rules keep NAT and
  /// connection tracking on in this network namespace: the kernel stops translating their
  /// addresses. So close them first; a reset that is sent afterwards does not arrive. (pf: they
  /// live on while pf is enabled.)
  ~LoadedRules();

  /// From here on new connections go their own way; those that are diverted already live on while
  /// this object does. For an orderly end, and while the worker cannot answer. Errors: what the
  /// kernel says; the rules are then still in place.
  [[nodiscard]] base::Result<> stop_diverting();
  /// Takes that back. Errors: as above; new connections still go their own way.
  [[nodiscard]] base::Result<> divert_again();

  /// Asks the system whether the rules are still as they were loaded, and what is in their
  /// way. Linux: milliseconds, more where others have very many rules or change them just now.
  /// Errors: it cannot be told; the rules may well be in force.
  [[nodiscard]] base::Result<Standing> look() const { return look_elsewhere()(); }
  /// The same for another thread, which may outlive this object.
  [[nodiscard]] std::function<base::Result<Standing>()> look_elsewhere() const;

  /// The text that was loaded (stop_diverting() does not change it), as `osproxy rules` prints it.
  [[nodiscard]] std::string text() const;

  /// What else was changed on this machine and the user should know of, a line each.
  [[nodiscard]] const std::vector<std::string>& notes() const;

  /// Stays where it is when this object is moved.
  [[nodiscard]] Hold& hold() const { return *hold_; }

 private:
  std::unique_ptr<Hold> hold_;
};

/// Puts the rules in place in one atomic batch; `ruleset` must be validated and lead to `landing`.
/// `probe` (empty: none) is asked where the system may have rules and not come to them (pf). On
/// failure everything is as it was when `landing` had been prepared. Needs root. Errors: another
/// osproxy in this network namespace (names its pid), no nf_tables in the kernel, no permission,
/// kernel too old; pf: what pfctl says, the rule that decides before ours.
[[nodiscard]] base::Result<LoadedRules> load_rules(const Ruleset& ruleset,
                                                   const RedirectTarget& target,
                                                   const Probe& probe = {});

/// Until the descriptor is closed the addresses of connections that are diverted stay translated,
/// whatever takes the rules out: for a process that outlives the one that has loaded
/// them, so that the ends of those connections still reach the programs. Linux: a table of its own,
/// which belongs to the descriptor and changes nothing (seen in `nft list ruleset` as
/// osproxy_guard_PID). pf: none is needed, states outlive the rules. Needs root.
[[nodiscard]] base::Result<base::UniqueFd> keep_translating();

/// Until the descriptor is closed the kernel copies the first packets of this machine's connections
/// to the NFLOG group `group`, and its DNS over UDP. Nothing is held, changed or tracked; any
/// number of processes may do this, beside a run or without one (`nft list ruleset`:
/// osproxy_who_PID). Needs root. Errors: as load_rules(); pf has no such copies.
[[nodiscard]] base::Result<base::UniqueFd> copy_first_packets(std::uint16_t group);

/// The process whose osproxy rules are loaded in this network namespace: 0 when there are none,
/// kNoOwner when they have no owner (a left-over that was put there by hand;
/// remove_stale_rules() takes it out), kUnseenOwner when the owner is a process that cannot be seen
/// from here (another pid namespace). Of several processes that hold the owning socket, one. Needs
/// CAP_NET_ADMIN; walks /proc.
[[nodiscard]] base::Result<long> rules_owner();

/// For the guard of process `owner`, which is dying: pf's rules stay when it has gone, and divert
/// to closed listeners. Takes them out at once; all else is left to remove_stale_rules(). Linux:
/// they go by themselves.
void take_rules_out(long owner);

/// Removes an osproxy table without an owner; pf: undoes what is left of an osproxy that was
/// killed. What was put right, a line each; empty: nothing was there, or its owner lives.
[[nodiscard]] base::Result<std::vector<std::string>> remove_stale_rules();

}  // namespace pfctl
