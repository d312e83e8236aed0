// Undoing one step of the journal.
#pragma once

#include "pfctl/pf_plan.h"

namespace pfctl {

/// Runs a program; a status other than 0 is an error as well ("cannot WHAT: what it complained
/// about").
[[nodiscard]] base::Result<Output> run_or_fail(const Machine& machine,
                                               const std::vector<std::string>& argv,
                                               std::string_view what, std::string_view input = {});

/// FreeBSD: pf is in the kernel; without it nothing of ours is in pf either.
[[nodiscard]] base::Result<bool> has_pf(const Machine& machine);

/// What was put right, as a line for the user. What is not there any more is not put right, and no
/// error; what others have changed since stays theirs. Errors: the program's.
[[nodiscard]] base::Result<std::string> undo_step(const Machine& machine, const Undo& undo);

/// Flushes the anchor that process `owner`, which is dying, has noted in the journal at `path`: new
/// connections go their own way, and the rest can be undone in peace. Without the journal's lock,
/// which `owner` may still have; nothing when the journal is of another process. Errors: no journal
/// that can be read; pfctl's.
[[nodiscard]] base::Result<> flush_rules_of(const Machine& machine, const std::string& path,
                                            long owner);

/// Paths of the programs. They are the same on macOS and FreeBSD but for one.
inline constexpr const char* kPfctl = "/sbin/pfctl";
inline constexpr const char* kIfconfig = "/sbin/ifconfig";
inline constexpr const char* kKldload = "/sbin/kldload";
inline constexpr const char* kKldunload = "/sbin/kldunload";
inline constexpr const char* kKldstat = "/sbin/kldstat";
inline constexpr const char* kRoute = "/sbin/route";
inline constexpr const char* kSysctl = "/sbin/sysctl";
const char* netstat_of(Dialect dialect);

/// The MTU of lo0 with which no segment is too large for it: with TSO larger ones are dropped (seen
/// on FreeBSD; on macOS pf_route() does the same, by reading).
inline constexpr unsigned kLargestMtu = 65535;

}  // namespace pfctl
