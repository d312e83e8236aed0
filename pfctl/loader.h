// Rules in the kernel. Installed rules are an object: they are gone when it is destroyed.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "pfctl/ruleset.h"

namespace pfctl {

/// Rules that are in place. On Linux the table belongs to the netlink socket held here (`flags owner`,
/// Linux 5.12): nobody else can change it and it is gone when the process ends, however it ends. So the
/// descriptor must not be inherited by any other process (it is close-on-exec; do not fork while holding one
/// without closing it). pf has no owners: there a journal on disk says what has to be undone (loader_pf.h).
class LoadedRules {
 public:
  struct Hold;  ///< of the system that the rules are loaded into
  explicit LoadedRules(std::unique_ptr<Hold> hold);

  LoadedRules(LoadedRules&&) noexcept;
  LoadedRules& operator=(LoadedRules&&) noexcept;
  /// Takes the rules out. Connections that are diverted die of it, unless other rules keep NAT and connection
  /// tracking on in this network namespace: the kernel stops translating their addresses. So close them
  /// first; a reset that is sent afterwards reaches nobody. (pf: they live on while pf is enabled.)
  ~LoadedRules();

  /// From here on new connections go their own way; those that are diverted already live on while this object
  /// does. For an end in order. Errors: what the kernel says; the rules are then still in place.
  [[nodiscard]] base::Result<> stop_diverting();

  /// The text that was loaded (stop_diverting() does not change it), as `osproxy rules` prints it.
  [[nodiscard]] std::string text() const;

 private:
  std::unique_ptr<Hold> hold_;
};

/// Puts the rules in place in one atomic batch; `ruleset` must be validated. On failure nothing is left
/// behind. Needs CAP_NET_ADMIN. Errors: another osproxy in this network namespace (names its pid), no
/// nf_tables in the kernel, no permission, kernel too old.
[[nodiscard]] base::Result<LoadedRules> load_rules(const Ruleset& ruleset);

inline constexpr long kNoOwner = -1;
inline constexpr long kUnseenOwner = -2;

/// The process whose osproxy table is loaded in this network namespace: 0 when there is no table, kNoOwner
/// when the table has no owner (a left-over that somebody put there by hand; remove_stale_rules() takes it
/// out), kUnseenOwner when the owner is a process that cannot be seen from here (another pid namespace). Of
/// several processes that hold the owning socket, one. Needs CAP_NET_ADMIN; walks /proc.
[[nodiscard]] base::Result<long> rules_owner();

/// Removes an osproxy table without an owner. True when there was one; a table with an owner stays.
[[nodiscard]] base::Result<bool> remove_stale_rules();

}  // namespace pfctl
