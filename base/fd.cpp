// File descriptors on POSIX systems.
#include "base/fd.h"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace base {

#ifdef MSG_NOSIGNAL
const int kNoSignal = MSG_NOSIGNAL;
#else
const int kNoSignal = 0;
#endif

bool set_close_on_exec(int fd) {
  return ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

bool set_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

Result<Pipe> make_pipe(Blocking blocking) {
  int ends[2];
  if (::pipe(ends) != 0) return os_error("cannot make a pipe", errno);
  Pipe pipe{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
  for (const int end : ends) {
    if (!set_close_on_exec(end) || (blocking == Blocking::no && !set_non_blocking(end)))
      return os_error("cannot set up a pipe", errno);
  }
  return pipe;
}

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return os_error(fmt::format("cannot read {}", path), errno);
  std::string bytes;
  char block[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error(fmt::format("cannot read {}", path), errno);
    if (n == 0) return bytes;
    if (bytes.size() + n > limit) return failure("{} is larger than {} bytes", path, limit);
    bytes.append(block, n);
  }
}

Result<> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("cannot write", errno);
    bytes.remove_prefix(n);
  }
  return {};
}

Result<> replace_file(const std::string& path, std::string_view bytes, unsigned mode) {
  const std::string draft = fmt::format("{}.{}.tmp", path, ::getpid());
  UniqueFd fd{::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)};
  if (!fd) return os_error(fmt::format("cannot create {}", draft), errno);
  auto written = write_all(fd.get(), bytes);
  int code = written ? 0 : written.error().os_code;
  if (!code && (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0)) code = errno;
  if (!code && std::rename(draft.c_str(), path.c_str()) != 0) code = errno;
  if (code) {
    ::unlink(draft.c_str());
    return os_error(fmt::format("cannot write {}", path), code);
  }
  return {};
}

}  // namespace base
