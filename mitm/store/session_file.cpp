#include "mitm/store/session_file.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

namespace mitm::store {
namespace {

constexpr mode_t kMode = 0600;

base::Error refused(const std::string& path, std::string_view why) {
  return base::failure("{} {}; name another file", base::printable(path), why);
}

}  // namespace

base::Result<> ensure_own_file(const std::string& path) {
  // Not truncated, and O_NONBLOCK: it may be anything that exists.
  const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  const base::UniqueFd file{::open(path.c_str(), flags, kMode)};
  if (!file && errno == ELOOP) return refused(path, "is a symbolic link");
  if (!file) return base::os_error("cannot open " + base::printable(path), errno);
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0)
    return base::os_error("cannot look at " + base::printable(path), errno);
  if (!S_ISREG(facts.st_mode)) return refused(path, "is not a regular file");
  if (facts.st_uid != ::geteuid()) return refused(path, "is another user's");
  if (facts.st_nlink > 1) return refused(path, "has a second name (a hard link)");
  if ((facts.st_mode & 07777) != kMode && ::fchmod(file.get(), kMode) != 0)
    return base::os_error("cannot make private: " + base::printable(path), errno);
  return {};
}

}  // namespace mitm::store
