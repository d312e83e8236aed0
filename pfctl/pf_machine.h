// A machine with pf: how its programs (pfctl, ifconfig, kldload ...) are run. Everything about pf
// goes through a Machine's Runner.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/subprocess.h"
#include "pfctl/pf.h"

namespace pfctl {

/// argv (argv[0] is an absolute path) and what the program reads as standard input. A value, so
/// that the steps can be tried against a machine that does not exist.
using Runner = std::function<base::Result<base::Finished>(const std::vector<std::string>& argv,
                                                          std::string_view input)>;

/// darwin or freebsd.
struct Machine {
  Dialect dialect = Dialect::freebsd;
  std::string anchor;  ///< anchor_of(dialect)
  Runner run;
  std::string conf = "/etc/pf.conf";  ///< what the main ruleset is loaded from
};

/// The one that this program runs on; only where it has pf.
Machine this_machine();

/// Runs a program; a status other than 0 is an error as well ("cannot WHAT: what it complained
/// about").
[[nodiscard]] base::Result<base::Finished> run_or_fail(const Machine& machine,
                                                       const std::vector<std::string>& argv,
                                                       std::string_view what,
                                                       std::string_view input = {});

/// FreeBSD: pf is in the kernel; without it nothing of ours is in pf either.
[[nodiscard]] base::Result<bool> has_pf(const Machine& machine);

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
