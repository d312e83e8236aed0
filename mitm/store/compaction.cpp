#include "mitm/store/compaction.h"

#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "mitm/store/database.h"
#include "mitm/store/schema.h"
#include "mitm/store/session_file.h"
#include "mitm/store/session_lock.h"

namespace mitm::store {
namespace {

using base::Result;

std::uint64_t size_of(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 ? static_cast<std::uint64_t>(facts.st_size) : 0;
}

/// SQLite says of a full disk now "disk I/O error", now "database or disk is full".
std::uint64_t room_beside(const std::string& path) {
  struct statvfs facts {};
  const auto slash = path.rfind('/');
  const std::string directory = slash == path.npos ? "." : path.substr(0, slash + 1);
  if (::statvfs(directory.c_str(), &facts) != 0) return UINT64_MAX;
  return static_cast<std::uint64_t>(facts.f_bavail) * facts.f_frsize;
}

base::Error explained(const base::Error& error, const std::string& path) {
  const bool is_io = error.os_code == EIO || error.os_code == ENOSPC;
  if (!is_io || room_beside(path) >= size_of(path)) return error;
  return base::os_error("cannot write " + base::printable(path), ENOSPC);
}

/// An empty file, for its user only, that is removed again unless it is kept.
class Beside {
 public:
  static Result<Beside> make(const std::string& path) {
    Beside file{path + ".compact"};
    ::unlink(file.path_.c_str());  // of a process that was killed: SQLite's lock is ours
    const base::UniqueFd fd{
        ::open(file.path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!fd) return base::os_error("cannot write " + base::printable(file.path_), errno);
    return file;
  }
  Beside(Beside&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  Beside& operator=(Beside&&) = delete;
  ~Beside() {
    if (path_.empty()) return;
    ::unlink(path_.c_str());
    ::unlink((path_ + "-journal").c_str());
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  Result<> keep_as(const std::string& name) {
    const base::UniqueFd fd{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd || ::fsync(fd.get()) != 0 || ::rename(path_.c_str(), name.c_str()) != 0)
      return base::os_error("cannot write " + base::printable(name), errno);
    path_.clear();
    return {};
  }

 private:
  explicit Beside(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// No other process may have it open: a log of the old file would be read into the new one.
Result<> take_for_ourselves(Database& database) {
  // EXCLUSIVE: what is locked stays locked until it is closed.
  if (auto set = database.run("PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = FILE;"); !set)
    return set.error();
  auto set = database.run("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE; COMMIT;");
  if (set) return {};
  if (set.error().os_code != EBUSY) return set.error();
  return base::Error{base::printable(database.path()) + " is open in another process", EBUSY};
}

struct Watch {
  const std::function<void(std::uint64_t, std::uint64_t)>* on_progress;
  const std::string* path;
  std::uint64_t total;

  static int look(void* context) {
    const auto& watch = *static_cast<Watch*>(context);
    if (*watch.on_progress) (*watch.on_progress)(size_of(*watch.path), watch.total);
    return 0;
  }
};

/// What cannot be read would not be in the new file.
Result<> check_whole(Database& database) {
  auto check = database.prepare("PRAGMA quick_check(1)");
  const auto row = check ? check->step() : check.error();
  const bool good = row && *row && check->text(0) == "ok" && !database.is_cut_off();
  if (good) return {};
  const std::string name = base::printable(database.path());
  return base::failure(
      "{}: the file is damaged; what is whole goes into another one with: "
      "osproxy import {} --save NEW",
      name, name);
}

Result<> vacuum_into(Database& database, const std::string& path, Watch& watch) {
  sqlite3* const handle = database.handle();
  sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 1);  // VACUUM attaches the new file
  sqlite3_progress_handler(handle, 1'000'000, Watch::look, &watch);
  auto statement = database.prepare("VACUUM INTO ?");
  auto done =
      statement ? statement->bind(1, std::string_view{path}).run() : Result<>{statement.error()};
  sqlite3_progress_handler(handle, 0, nullptr, nullptr);
  return done;
}

}  // namespace

Result<Compacted> compact(
    const std::string& path,
    const std::function<void(std::uint64_t done, std::uint64_t total)>& on_progress) {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0)
    return base::os_error("cannot open " + base::printable(path), errno);
  if (auto own = ensure_own_file(path); !own) return own.error();
  if (const auto writer = writer_of(path))
    return written_by_another(path, *writer, "end that first");
  auto database = Database::open(path, Database::Access::write);
  if (!database) return database.error();
  if (auto good = check_readable(*database); !good) return explained(good.error(), path);
  sqlite3_busy_timeout(database->handle(), 0);
  if (auto ours = take_for_ourselves(*database); !ours) return explained(ours.error(), path);
  if (auto whole = check_whole(*database); !whole) return whole.error();
  Compacted sizes;
  sizes.before = size_of(path);
  auto beside = Beside::make(path);
  if (!beside) return beside.error();
  Watch watch{&on_progress, &beside->path(), sizes.before};
  if (auto written = vacuum_into(*database, beside->path(), watch); !written)
    return explained(written.error(), path);
  if (auto kept = beside->keep_as(path); !kept) return kept.error();
  sizes.after = size_of(path);
  return sizes;
}

}  // namespace mitm::store
