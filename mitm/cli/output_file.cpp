// Such a file holds what TLS protects, so that only the user may read it. In a directory to which
// all users may write (/tmp) another one may have put a file, a FIFO or a link in its place.
// The path is checked before it is opened, which gives better errors and does not wait for another
// user's FIFO; what was opened is checked again.
#include "mitm/cli/output_file.h"

#include <cerrno>
#include <charconv>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mitm::cli {
namespace {

constexpr int kAlways = O_CLOEXEC | O_NOCTTY;
constexpr int kAppending = O_APPEND | O_NONBLOCK;
constexpr mode_t kOwnOnly = S_IRUSR | S_IWUSR;
constexpr mode_t kOfOthers = S_IRWXG | S_IRWXO;

struct Name {
  const std::string& path;
  std::string_view said_by;

  [[nodiscard]] base::Error os_error(const char* what, int code) const {
    return base::os_error(fmt::format("{}: cannot {} {}", said_by, what, path), code);
  }
  [[nodiscard]] base::Error refusal(const char* reason) const {
    return base::failure("{}: {} {}", said_by, path, reason);
  }
};

/// N of /dev/fd/N and its equivalents; on Linux such a path is a symbolic link.
std::optional<int> descriptor_of(std::string_view path) {
  if (path == "/dev/stdout") return STDOUT_FILENO;
  if (path == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view directory : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(directory)) continue;
    const std::string_view digits = path.substr(directory.size());
    int number = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc{} && end == digits.data() + digits.size()) return number;
  }
  return std::nullopt;
}

base::Result<base::UniqueFd> duplicate(int descriptor, const Name& name, OutputMode mode) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 && errno == EBADF) {
    return name.refusal(
        "is not open here; sudo closes all descriptors above 2: put the whole line under sudo "
        "(sudo bash -c 'osproxy ... -o >(jq .)'), or name a FIFO");
  }
  if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) return name.os_error("write to", EBADF);
  base::UniqueFd fd;
  // Linux opens it anew: only then is O_NONBLOCK ours alone and not that of all who have the
  // descriptor.
  if (mode == OutputMode::append)
    fd.reset(::open(name.path.c_str(), kAppending | O_WRONLY | kAlways));
  if (!fd) fd.reset(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
  if (!fd) return name.os_error("write to", errno);
  return fd;
}

bool is_kept_private(const struct stat& facts) {
  return S_ISREG(facts.st_mode) || S_ISFIFO(facts.st_mode);
}

base::Result<> check(const struct stat& facts, const Name& name) {
  if (S_ISLNK(facts.st_mode))
    return name.refusal("is a symbolic link; name the file that it leads to");
  if (S_ISCHR(facts.st_mode)) return {};
  if (!is_kept_private(facts)) return name.refusal("is neither a file nor a FIFO nor a terminal");
  if (facts.st_uid != ::geteuid())
    return name.refusal("belongs to another user; name a file of your own, or a new one");
  if (S_ISREG(facts.st_mode) && facts.st_nlink > 1)
    return name.refusal(
        "has another name, too (a hard link); name a file that has one name, or a new one");
  return {};
}

/// Not only asks for it: some file systems (FAT) have one mode for all their files.
base::Result<> keep_private(int fd, const Name& name) {
  struct stat facts {};
  if (::fchmod(fd, kOwnOnly) != 0 || ::fstat(fd, &facts) != 0)
    return name.os_error("protect", errno);
  if ((facts.st_mode & kOfOthers) != 0)
    return name.refusal("stays readable for others on its file system; name a file elsewhere");
  return {};
}

}  // namespace

bool is_standard_output(const std::string& path) {
  return path == "-" || descriptor_of(path) == STDOUT_FILENO;
}

bool is_stream(const std::string& path) {
  if (path == "-" || descriptor_of(path)) return true;
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0 && (S_ISFIFO(facts.st_mode) || S_ISCHR(facts.st_mode));
}

base::Result<base::UniqueFd> open_output_file(const std::string& path, std::string_view said_by,
                                              OutputMode mode) {
  const Name name{path, said_by};
  if (const auto descriptor = descriptor_of(path)) return duplicate(*descriptor, name, mode);
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) == 0) {
    if (const auto good = check(facts, name); !good) return good.error();
  }
  const int flags =
      O_WRONLY | O_CREAT | O_NOFOLLOW | kAlways | (mode == OutputMode::append ? kAppending : 0);
  base::UniqueFd fd{::open(path.c_str(), flags, kOwnOnly)};
  if (!fd) return name.os_error("open", errno);
  if (::fstat(fd.get(), &facts) != 0) return name.os_error("look at", errno);
  if (const auto good = check(facts, name); !good) return good.error();
  if (!is_kept_private(facts)) return fd;
  if (const auto kept = keep_private(fd.get(), name); !kept) return kept.error();
  return fd;
}

base::Result<> empty_output_file(int fd, const std::string& path, std::string_view said_by) {
  const Name name{path, said_by};
  struct stat facts {};
  const bool inherited = path == "-" || descriptor_of(path);
  if (inherited || ::fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) return {};
  if (::ftruncate(fd, 0) != 0) return name.os_error("empty", errno);
  return {};
}

}  // namespace mitm::cli
