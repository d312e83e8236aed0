// An owned file descriptor, and the calls that every folder needs on one.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "base/error.h"

namespace base {

/// Closes its descriptor when destroyed. -1 is "none".
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

/// MSG_NOSIGNAL for send(2); 0 on macOS, which has none: there main() ignores SIGPIPE.
extern const int kNoSignal;

/// Closes every descriptor from `first` on.
void close_from(int first);

/// close-on-exec. Not in one step with making it, which not every system can: do not start programs
/// from other threads meanwhile.
[[nodiscard]] bool set_close_on_exec(int fd);
[[nodiscard]] bool set_non_blocking(int fd);

struct Pipe {
  UniqueFd out;  ///< to read from
  UniqueFd in;   ///< to write to
};
enum class Blocking : bool { no, yes };
/// Both ends are close-on-exec (see set_close_on_exec()).
[[nodiscard]] Result<Pipe> make_pipe(Blocking blocking);

/// The whole file as bytes, at most `limit`; a longer one is an error that names `path` and the
/// limit. Blocking.
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t limit = 64 << 20);

/// Writes all of `bytes`, restarting after EINTR. Blocking.
[[nodiscard]] Result<> write_all(int fd, std::string_view bytes);

/// Replaces `path` in one step (temporary file beside it, fsync, rename). `mode` as for chmod(2).
[[nodiscard]] Result<> replace_file(const std::string& path, std::string_view bytes, unsigned mode);

}  // namespace base
