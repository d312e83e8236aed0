// A lock of fcntl(2) on one byte that SQLite neither locks nor uses. A process that closes a file
// loses all its locks on it, SQLite's as well: so what is opened here stays open.
#include "mitm/store/session_lock.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

namespace mitm::store {

struct SessionLock::File {
  int descriptor = -1;
  bool held = false;  ///< by this process, which its own locks do not stop
};

namespace {

/// In the page in which SQLite has its own, of which 512 bytes are used
/// (https://www.sqlite.org/fileformat.html#the_lock_byte_page).
constexpr off_t kByte = 0x40000000 + 1024;
/// A reader holds it while it marks flows that were interrupted, a writer until it has closed.
constexpr auto kPatience = std::chrono::seconds{2};
constexpr auto kPoll = std::chrono::milliseconds{10};

using Identity = std::pair<dev_t, ino_t>;

std::mutex mutex;

struct flock byte_lock(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = kByte;
  lock.l_len = 1;
  return lock;
}

std::optional<Identity> identity_of(int descriptor) {
  struct stat facts {};
  if (descriptor < 0 || ::fstat(descriptor, &facts) != 0) return std::nullopt;
  return Identity{facts.st_dev, facts.st_ino};
}

/// The same for the same file. With the mutex held. Null: it cannot be opened (errno).
template <class File>
File* file_at(const std::string& path) {
  static std::map<Identity, File> files;
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0) return nullptr;
  const Identity identity{facts.st_dev, facts.st_ino};
  // A fork may have closed what it has inherited.
  if (const auto known = files.find(identity);
      known != files.end() && identity_of(known->second.descriptor) == identity)
    return &known->second;
  const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  const int descriptor = ::open(path.c_str(), flags);
  const auto opened = identity_of(descriptor);
  if (!opened) return nullptr;
  return &(files[*opened] = File{descriptor, false});
}

}  // namespace

void SessionLock::Release::operator()(File* file) const {
  const std::lock_guard guard{mutex};
  struct flock lock = byte_lock(F_UNLCK);
  static_cast<void>(::fcntl(file->descriptor, F_SETLK, &lock));
  file->held = false;
}

/// With the mutex held. On a file system without locks it is always given.
std::optional<SessionLock> SessionLock::lock(File& file) {
  struct flock lock = byte_lock(F_WRLCK);
  const bool refused = file.held || (::fcntl(file.descriptor, F_SETLK, &lock) != 0 &&
                                     (errno == EACCES || errno == EAGAIN));
  if (refused) return std::nullopt;
  file.held = true;
  return SessionLock{file};
}

base::Result<SessionLock> SessionLock::take(const std::string& path) {
  const auto limit = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    {
      const std::lock_guard guard{mutex};
      File* const file = file_at<File>(path);
      if (file == nullptr) return base::os_error("cannot open " + base::printable(path), errno);
      if (auto taken = lock(*file)) return std::move(*taken);
      if (std::chrono::steady_clock::now() >= limit)
        return written_by_another(path, writer_of(file->descriptor).value_or(0),
                                  "name another file");
    }
    std::this_thread::sleep_for(kPoll);
  }
}

std::optional<pid_t> writer_of(int file) {
  struct flock lock = byte_lock(F_WRLCK);
  if (::fcntl(file, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return std::nullopt;
  return std::max<pid_t>(lock.l_pid, 0);
}

std::optional<pid_t> writer_of(const std::string& path) {
  const base::UniqueFd file{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
  if (!file) return std::nullopt;
  return writer_of(file.get());
}

std::optional<SessionLock> SessionLock::try_take(const std::string& path) {
  const std::lock_guard guard{mutex};
  File* const file = file_at<File>(path);
  return file == nullptr ? std::nullopt : lock(*file);
}

base::Error written_by_another(const std::string& path, pid_t writer, std::string_view advice) {
  const std::string process = writer == 0 ? "" : fmt::format(" ({})", writer);
  return {
      fmt::format("{}: another osproxy{} writes to it; {}", base::printable(path), process, advice),
      EBUSY};
}

}  // namespace mitm::store
