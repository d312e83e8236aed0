// Landlock for files (landlock(7)), seccomp(2) for everything else. Landlock's numbers and
// structures are written out: they are the same on every processor, and headers are often older
// than kernels.
#include <array>
#include <cerrno>
#include <filesystem>
#include <set>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/process/confine.h"
#include "divert/process/system_calls.h"

namespace divert {
namespace {

namespace fs = std::filesystem;

constexpr long kCreateRuleset = 444;
constexpr long kAddRule = 445;
constexpr long kRestrictSelf = 446;
constexpr unsigned kAskVersion = 1;  // LANDLOCK_CREATE_RULESET_VERSION
constexpr int kBeneath = 1;          // LANDLOCK_RULE_PATH_BENEATH

// LANDLOCK_ACCESS_FS_...
constexpr std::uint64_t kReadFile = 1 << 2;
constexpr std::uint64_t kReadDirectory = 1 << 3;

struct RulesetAttributes {
  std::uint64_t files;
  std::uint64_t network;
  std::uint64_t scoped;
};
struct [[gnu::packed]] PathBeneath {
  std::uint64_t allowed;
  std::int32_t parent;
};

/// What the C library reads: its own modules and data, who and where hosts are, the time zone, the
/// number of processors. Of Nix and Guix, too. Nothing of a user's.
constexpr std::array kSystemPaths = {
    "/etc",        "/usr",       "/lib",         "/lib32",     "/lib64",
    "/libx32",     "/nix/store", "/gnu/store",   "/dev/null",  "/dev/urandom",
    "/dev/random", "/proc/self", "/proc/sys/vm", "/proc/stat", "/sys/devices/system/cpu",
};
/// They may be links to files that are replaced during the run: their directories are meant.
constexpr std::array kLinkedFiles = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
                                     "/etc/localtime"};

/// Of a kernel without it, one that was started without it, or within a container that forbids it.
bool is_missing(int error) {
  return error == ENOSYS || error == EOPNOTSUPP || error == EPERM;
}

/// Version of Landlock; negative: this kernel lacks it.
long landlock_version() {
  return ::syscall(kCreateRuleset, nullptr, 0, kAskVersion);
}

/// All that version knows: to execute, write, make and remove (bits 0 to 12), to move, to truncate,
/// to control devices.
std::uint64_t file_rights(long version) {
  int bits = 13;
  if (version >= 2) ++bits;
  if (version >= 3) ++bits;
  if (version >= 5) ++bits;
  return (std::uint64_t{1} << bits) - 1;
}

base::Result<> allow_reading(int ruleset, const std::string& path) {
  const base::UniqueFd parent{::open(path.c_str(), O_PATH | O_CLOEXEC)};
  struct stat facts {};
  if (!parent || ::fstat(parent.get(), &facts) != 0) return {};
  const PathBeneath rule{S_ISDIR(facts.st_mode) ? kReadFile | kReadDirectory : kReadFile,
                         parent.get()};
  if (::syscall(kAddRule, ruleset, kBeneath, &rule, 0) == 0) return {};
  return base::os_error("cannot confine the worker: landlock_add_rule for " + path, errno);
}

std::set<std::string> readable_paths(const std::vector<std::string>& more) {
  std::set<std::string> paths{kSystemPaths.begin(), kSystemPaths.end()};
  paths.insert(more.begin(), more.end());
  for (const char* file : kLinkedFiles) {
    std::error_code error;
    const fs::path target = fs::canonical(file, error);
    const bool of_root = target.parent_path() == target.root_path();
    if (!error) paths.insert(of_root ? target.string() : target.parent_path().string());
  }
  return paths;
}

/// Whether it is in force.
base::Result<bool> restrict_files(const std::vector<std::string>& readable) {
  const long version = landlock_version();
  if (version < 1) return false;
  // Scoped from version 6 on: UNIX sockets by abstract names, and signals.
  const RulesetAttributes attributes{file_rights(version), 0, version >= 6 ? 3U : 0U};
  const base::UniqueFd ruleset{
      static_cast<int>(::syscall(kCreateRuleset, &attributes, sizeof attributes, 0))};
  if (!ruleset) return base::os_error("cannot confine the worker: landlock_create_ruleset", errno);
  for (const auto& path : readable_paths(readable)) {
    if (auto allowed = allow_reading(ruleset.get(), path); !allowed) return allowed.error();
  }
  if (::syscall(kRestrictSelf, ruleset.get(), 0) == 0) return true;
  return base::os_error("cannot confine the worker: landlock_restrict_self", errno);
}

/// Whether it is in force.
base::Result<bool> restrict_system_calls() {
  std::vector<FilterInstruction> filter = system_call_filter(::getpid());
  if (filter.empty()) return false;
  const sock_fprog program{static_cast<unsigned short>(filter.size()),
                           reinterpret_cast<sock_filter*>(filter.data())};
  // Without the flag older kernels slow down the whole process, against a kind of speculation that
  // reads memory of the same process (prctl(2), PR_SPEC_STORE_BYPASS).
  for (const unsigned flags : {unsigned{SECCOMP_FILTER_FLAG_SPEC_ALLOW}, 0U}) {
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0) return true;
    if (errno != EINVAL) break;
  }
  if (errno == EINVAL || is_missing(errno)) return false;
  return base::os_error("cannot confine the worker: seccomp", errno);
}

}  // namespace

base::Result<Confinement> confine(const std::vector<std::string>& readable) {
  const auto files = restrict_files(readable);
  if (!files) return files.error();
  const auto system_calls = restrict_system_calls();
  if (!system_calls) return system_calls.error();
  return Confinement{*system_calls, *files};
}

Confinement possible_confinement() {
  const std::uint32_t action = SECCOMP_RET_ERRNO;
  const bool filters = ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
  return {filters && !system_call_filter(::getpid()).empty(), landlock_version() >= 1};
}

}  // namespace divert
