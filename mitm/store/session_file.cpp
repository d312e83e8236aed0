#include "mitm/store/session_file.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "mitm/store/schema.h"

namespace mitm::store {
namespace {

constexpr mode_t kMode = 0600;

base::Error refused(const std::string& path, std::string_view why) {
  return base::failure("{} {}; name another file", base::printable(path), why);
}

}  // namespace

/// By the header of the file (https://www.sqlite.org/fileformat.html, 1.3): "SQLite format 3", and
/// at 68 the application's id, big-endian.
bool is_session(int file) {
  constexpr std::string_view kMagic{"SQLite format 3\0", 16};
  constexpr std::size_t kIdAt = 68;
  std::array<char, kIdAt + 4> header{};
  if (::pread(file, header.data(), header.size(), 0) != static_cast<ssize_t>(header.size()) ||
      std::string_view(header.data(), kMagic.size()) != kMagic)
    return false;
  std::uint32_t id = 0;
  for (std::size_t i = kIdAt; i < header.size(); ++i)
    id = id << 8U | static_cast<std::uint8_t>(header[i]);
  return id == kApplicationId;
}

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
  if (facts.st_size > 0 && !is_session(file.get()))
    return refused(path, "is no session of osproxy");
  if ((facts.st_mode & 07777) != kMode && ::fchmod(file.get(), kMode) != 0)
    return base::os_error("cannot make private: " + base::printable(path), errno);
  return {};
}

bool is_session_file(const std::string& path) {
  const base::UniqueFd file{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
  return file && is_session(file.get());
}

}  // namespace mitm::store
