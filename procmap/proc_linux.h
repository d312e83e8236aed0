// /proc, kept open: the few questions that attribution asks of it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "procmap/proc_parse.h"
#include "procmap/process.h"

namespace procmap {

class Proc {
 public:
  [[nodiscard]] static base::Result<Proc> open();

  /// All process ids, in the order of /proc (ascending).
  [[nodiscard]] std::vector<pid_t> pids() const;
  /// The last process id given out in our pid namespace; 0 when it cannot be read.
  [[nodiscard]] pid_t last_pid() const;
  [[nodiscard]] std::optional<StatFields> stat(pid_t pid) const;
  /// /proc/PID/stat, to be read again and again: of the process that has the number now, whichever
  /// gets it later.
  [[nodiscard]] base::UniqueFd open_stat(pid_t pid) const;
  /// Empty: the process has ended.
  [[nodiscard]] static std::optional<StatFields> read_stat(const base::UniqueFd& file);
  [[nodiscard]] std::optional<StatusFields> status(pid_t pid) const;
  /// A thread of the process that still runs, when its first one has ended ("zombie leader"); else
  /// 0. The other questions can be asked of the thread's number; /proc answers them for threads as
  /// well.
  [[nodiscard]] pid_t thread_of_zombie(pid_t pid) const;
  /// Threads that do not share their process's descriptors (kcmp(2)); empty also where the kernel
  /// cannot tell.
  [[nodiscard]] std::vector<pid_t> threads_apart(pid_t pid) const;
  /// The first `limit` bytes of /proc/PID/NAME; empty when it cannot be read.
  [[nodiscard]] std::string text(pid_t pid, const char* name, std::size_t limit) const;
  /// Target of /proc/PID/NAME; empty when it cannot be read (kernel threads, no permission).
  [[nodiscard]] std::string link(pid_t pid, const char* name) const;
  /// Owner of /proc/PID: the effective uid; empty when there is no such process.
  [[nodiscard]] std::optional<uid_t> owner(pid_t pid) const;

  /// The descriptors of one process, held open for a series of looks.
  class Descriptors {
   public:
    Descriptors() = default;
    /// Inode of the socket behind `descriptor`; 0 when it is another file or none.
    [[nodiscard]] std::uint32_t socket_at(int descriptor) const;
    /// What `descriptor` is, from one look.
    struct File {
      std::uint32_t socket = 0;  ///< inode; 0: no socket
      bool ring = false;         ///< an io_uring
    };
    [[nodiscard]] File file_at(int descriptor) const;
    /// How many are open, as far as the kernel says (Linux 6.2); 0: it does not.
    [[nodiscard]] int count() const;
    /// Their numbers, ascending.
    [[nodiscard]] std::vector<int> numbers() const;
    explicit operator bool() const { return static_cast<bool>(folder_); }

   private:
    friend class Proc;
    explicit Descriptors(base::UniqueFd folder) : folder_(std::move(folder)) {}
    base::UniqueFd folder_;
  };
  [[nodiscard]] Descriptors descriptors(pid_t pid) const;

 private:
  explicit Proc(base::UniqueFd root) : root_(std::move(root)) {}
  base::UniqueFd root_;
};

}  // namespace procmap
