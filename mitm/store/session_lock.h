// Who writes a session: one process at a time, and readers can tell whether it lives.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/error.h"

namespace mitm::store {

/// Held as long as its process writes to a session; the kernel gives it back however that process
/// ends. To be taken when the process has the session open: until SQLite uses its log, it gives
/// back all locks that the process has on the file.
class SessionLock {
 public:
  /// Waits a moment for one that is held. An error names the file, and the process that writes.
  static base::Result<SessionLock> take(const std::string& path);
  /// Empty: the session is being written, or must not be.
  static std::optional<SessionLock> try_take(const std::string& path);

 private:
  struct File;
  struct Release {
    void operator()(File* file) const;
  };
  static std::optional<SessionLock> lock(File& file);

  explicit SessionLock(File& file) : file_(&file) {}
  std::unique_ptr<File, Release> file_;
};

/// The process that writes the session in this open file; 0: one that is not seen from here
/// (another machine or container); empty: none does.
[[nodiscard]] std::optional<pid_t> writer_of(int file);
/// The same of a path, for a process that does not have the session open: what is closed here gives
/// back its locks. Empty also if it cannot be opened.
[[nodiscard]] std::optional<pid_t> writer_of(const std::string& path);

/// "PATH: another osproxy (123) writes to it; ADVICE" (EBUSY), of a writer as writer_of() names it.
[[nodiscard]] base::Error written_by_another(const std::string& path, pid_t writer,
                                             std::string_view advice);

}  // namespace mitm::store
