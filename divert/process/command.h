// The command of `osproxy exec`: a cgroup (or a group number) of its own, started as the user who
// typed sudo.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/user.h"

namespace divert {

/// What tells the processes of one command from all others: on Linux a cgroup v2 made for it,
/// directly below the root; with pf, which knows no cgroups, a group number of its own.
struct Cgroup {
  std::string name;          ///< empty: none could be made
  std::string why;           ///< none could be made: "this machine has no cgroup v2"
  std::uint64_t id = 0;      ///< what sock_diag calls the sockets of its processes (kernfs inode)
  unsigned level = 0;        ///< depth below the root of cgroup v2; nft's `socket cgroupv2 level`
  std::optional<gid_t> gid;  ///< pf: the command's real and effective group
};

/// osproxy-<owner>; with pf a free group number (see choose_exempt_group()) and that is not
/// `exempt`. That no cgroup can be made (there is no cgroup v2, containers have it read-only) is
/// not an error: the name stays empty, and CMD's processes are known by their descent.
[[nodiscard]] base::Result<Cgroup> make_cgroup(pid_t owner, gid_t exempt);

/// Moves what still runs in it to the root, then removes it. False when it was not there.
bool remove_cgroup(const std::string& name);

/// Processes in it now.
[[nodiscard]] std::vector<pid_t> processes_in(const Cgroup& cgroup);

/// The calling process, root's, joins; with pf it does so by become(). 0 or errno.
[[nodiscard]] int enter(const Cgroup& cgroup);

struct Command {
  std::vector<std::string> argv;
  base::User user;
  std::vector<std::pair<std::string, std::string>> environment;  ///< added to ours
  Cgroup cgroup;
  bool stdout_to_stderr = false;      ///< standard output is not the command's
  std::optional<rlimit> descriptors;  ///< as it was when we were started, not as we have raised it
  std::string hint_not_found;         ///< what to say when argv[0] is not found; empty: nothing
};

/// What exec should say of `argv` before it starts; `system` as native_dialect_name() has it.
/// macOS: that the connections which launchd's services make for an app are not made by the
/// command's processes. Empty: nothing.
[[nodiscard]] std::string caution_on_services(const std::vector<std::string>& argv,
                                              std::string_view system);

/// A started command that waits for release() before it runs a single instruction of CMD, so that
/// rules and policy can learn its pid first.
class HeldCommand {
 public:
  [[nodiscard]] static base::Result<HeldCommand> start(const Command& command);
  /// Lets it go. The error is execve(2)'s: no such file, not executable.
  [[nodiscard]] base::Result<> release();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  base::UniqueFd gate_;    ///< a letter lets the command run, its closing ends it
  base::UniqueFd report_;  ///< errno of a failed execve, or end-of-file
  std::string name_;
  std::string hint_not_found_;
};

}  // namespace divert
