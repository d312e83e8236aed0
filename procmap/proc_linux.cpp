// openat(2) below one descriptor of /proc; folders are read with getdents64(2) into a large buffer,
// because readdir(3) allocates 32 KiB for each.
#include "procmap/proc_linux.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <fcntl.h>
#include <fmt/compile.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace procmap {
namespace {

/// "PID/NAME" without an allocation.
class Path {
 public:
  Path(pid_t pid, const char* name) {
    *fmt::format_to_n(text_.data(), text_.size() - 1, FMT_COMPILE("{}/{}"), pid, name).out = 0;
  }
  operator const char*() const { return text_.data(); }  // NOLINT: a path is what it is for

 private:
  std::array<char, 64> text_;
};

std::string read_at(int root, const char* path, std::size_t limit) {
  const base::UniqueFd fd{::openat(root, path, O_RDONLY | O_CLOEXEC)};
  if (!fd) return {};
  std::array<char, 4096> block;
  std::string text;
  while (text.size() < limit) {
    const ssize_t n = ::read(fd.get(), block.data(), std::min(block.size(), limit - text.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(block.data(), static_cast<std::size_t>(n));
    // proc files are handed out whole as long as they fit.
    if (static_cast<std::size_t>(n) < block.size()) break;
  }
  return text;
}

/// Names that are numbers, in the folder's order.
template <class Number>
std::vector<Number> numbers_in(int folder) {
  std::vector<Number> numbers;
  std::array<char, 32768> block;
  if (::lseek(folder, 0, SEEK_SET) < 0) return numbers;
  for (;;) {
    const auto n = ::syscall(SYS_getdents64, folder, block.data(), block.size());
    if (n <= 0) return numbers;
    for (long at = 0; at < n;) {
      // struct linux_dirent64: inode 0, offset 8, record length 16, type 18, name 19.
      std::uint16_t size = 0;
      std::memcpy(&size, block.data() + at + 16, sizeof size);
      const char* const name = block.data() + at + 19;
      Number number{};
      const auto [end, error] = std::from_chars(name, name + std::strlen(name), number);
      if (error == std::errc{} && *end == '\0') numbers.push_back(number);
      at += size;
    }
  }
}

}  // namespace

base::Result<Proc> Proc::open() {
  base::UniqueFd root{::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!root) return base::os_error("cannot open /proc", errno);
  return Proc{std::move(root)};
}

std::vector<pid_t> Proc::pids() const {
  return numbers_in<pid_t>(root_.get());
}

pid_t Proc::last_pid() const {
  return parse_last_pid(read_at(root_.get(), "loadavg", 256));
}

std::optional<StatFields> Proc::stat(pid_t pid) const {
  return parse_stat(text(pid, "stat", 4096));
}

base::UniqueFd Proc::open_stat(pid_t pid) const {
  return base::UniqueFd{::openat(root_.get(), Path{pid, "stat"}, O_RDONLY | O_CLOEXEC)};
}

std::optional<StatFields> Proc::read_stat(const base::UniqueFd& file) {
  std::array<char, 4096> text;
  const ssize_t n = ::pread(file.get(), text.data(), text.size(), 0);
  return n > 0 ? parse_stat({text.data(), static_cast<std::size_t>(n)}) : std::nullopt;
}

std::optional<StatusFields> Proc::status(pid_t pid) const {
  // A line of it has the groups: 65536 of at most 11 bytes each (NGROUPS_MAX of linux/limits.h).
  return parse_status(text(pid, "status", 1 << 20));
}

pid_t Proc::thread_of_zombie(pid_t pid) const {
  const auto leader = stat(pid);
  if (!leader || leader->state != 'Z') return 0;
  const base::UniqueFd folder{
      ::openat(root_.get(), Path{pid, "task"}, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return 0;
  for (const pid_t thread : numbers_in<pid_t>(folder.get())) {
    const auto its = thread == pid ? std::nullopt : stat(thread);
    if (its && its->state != 'Z' && its->state != 'X') return thread;
  }
  return 0;
}

std::vector<pid_t> Proc::threads_apart(pid_t pid) const {
  std::vector<pid_t> apart;
  const base::UniqueFd folder{
      ::openat(root_.get(), Path{pid, "task"}, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return apart;
  for (const pid_t thread : numbers_in<pid_t>(folder.get())) {
    if (thread == pid) continue;
    const long order = ::syscall(SYS_kcmp, pid, thread, KCMP_FILES, 0, 0);
    if (order < 0) break;  // not in this kernel, or ended
    if (order > 0) apart.push_back(thread);
  }
  return apart;
}

std::string Proc::text(pid_t pid, const char* name, std::size_t limit) const {
  return read_at(root_.get(), Path{pid, name}, limit);
}

std::string Proc::link(pid_t pid, const char* name) const {
  std::array<char, 4096> target;
  const ssize_t n = ::readlinkat(root_.get(), Path{pid, name}, target.data(), target.size());
  return n > 0 ? std::string(target.data(), static_cast<std::size_t>(n)) : std::string();
}

std::optional<uid_t> Proc::owner(pid_t pid) const {
  struct stat facts {};
  if (::fstatat(root_.get(), Path{pid, ""}, &facts, 0) != 0) return std::nullopt;
  return facts.st_uid;
}

Proc::Descriptors Proc::descriptors(pid_t pid) const {
  return Descriptors{
      base::UniqueFd{::openat(root_.get(), Path{pid, "fd"}, O_RDONLY | O_DIRECTORY | O_CLOEXEC)}};
}

std::uint32_t Proc::Descriptors::socket_at(int descriptor) const {
  return file_at(descriptor).socket;
}

Proc::Descriptors::File Proc::Descriptors::file_at(int descriptor) const {
  std::array<char, 16> name{};
  std::to_chars(name.data(), name.data() + name.size() - 1, descriptor);
  std::array<char, 64> target;
  const ssize_t n = ::readlinkat(folder_.get(), name.data(), target.data(), target.size());
  if (n <= 0) return {};
  const std::string_view link{target.data(), static_cast<std::size_t>(n)};
  return {parse_socket_link(link), is_ring_link(link)};
}

int Proc::Descriptors::count() const {
  struct stat facts {};
  return ::fstat(folder_.get(), &facts) == 0 ? static_cast<int>(facts.st_size) : 0;
}

std::vector<int> Proc::Descriptors::numbers() const {
  return numbers_in<int>(folder_.get());
}

}  // namespace procmap
