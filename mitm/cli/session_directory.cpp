#include "mitm/cli/session_directory.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "base/user.h"

namespace mitm::cli {
namespace {

using base::Result;

constexpr std::size_t kLongestProgram = 40;
constexpr mode_t kOwnDirectory = 0700;

/// Also what is above it.
Result<> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), kOwnDirectory) == 0 || errno == EEXIST) return {};
  const auto slash = path.rfind('/');
  if (errno == ENOENT && slash != path.npos && slash > 0) {
    if (auto above = make_directory(path.substr(0, slash)); !above) return above;
    if (::mkdir(path.c_str(), kOwnDirectory) == 0 || errno == EEXIST) return {};
  }
  return base::os_error("cannot make the directory " + base::printable(path), errno);
}

/// What others could read, or change under us, is refused.
Result<> keep_private(const std::string& path) {
  const base::UniqueFd directory{
      ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  struct stat facts {};
  if (!directory || ::fstat(directory.get(), &facts) != 0)
    return base::os_error("cannot open the directory " + base::printable(path), errno);
  if (facts.st_uid != ::geteuid())
    return base::failure("the directory {} is another user's", base::printable(path));
  if ((facts.st_mode & 077) != 0 && ::fchmod(directory.get(), kOwnDirectory) != 0)
    return base::os_error("cannot make private: " + base::printable(path), errno);
  return {};
}

bool exists(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0;
}

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_';
}

/// One dash for all that has no place in a name.
std::string plain(std::string_view program) {
  std::string out;
  for (const char c : program.substr(program.rfind('/') + 1)) {
    if (out.size() == kLongestProgram) break;
    if (is_plain(c))
      out += c;
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  while (out.ends_with('-')) out.pop_back();
  return out.empty() ? "all" : out;
}

}  // namespace

std::string sessions_directory(const std::string& home) {
  const char* const state = std::getenv("XDG_STATE_HOME");
  // The specification: a relative path is to be ignored.
  const std::string base = state != nullptr && state[0] == '/' ? state : home + "/.local/state";
  return base + "/osproxy/sessions";
}

std::string session_name(std::string_view program, std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
  return fmt::format("{}-{}", stamp, plain(program));
}

Result<std::string> create_session_file(const std::string& home, std::string_view program,
                                        std::chrono::system_clock::time_point time) {
  const std::string directory = sessions_directory(home);
  if (auto made = make_directory(directory); !made) return made.error();
  if (auto kept = keep_private(directory); !kept) return kept.error();
  const std::string name = directory + "/" + session_name(program, time);
  for (int n = 1;; ++n) {
    std::string path = name + (n > 1 ? fmt::format("-{}", n) : "");
    path += kSessionSuffix;
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    const base::UniqueFd file{::open(path.c_str(), flags, 0600)};
    if (file) return path;
    if (errno != EEXIST) return base::os_error("cannot make " + base::printable(path), errno);
  }
}

std::vector<std::string> session_files(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().extension() == kSessionSuffix) paths.push_back(entry.path().string());
  }
  std::ranges::sort(paths, {}, [](const std::string& path) {
    return std::string_view(path).substr(0, path.size() - kSessionSuffix.size());
  });
  return paths;
}

std::string find_session(const std::string& name) {
  if (name.empty() || name.find('/') != name.npos || name == "-" || exists(name)) return name;
  const std::string path = sessions_directory(base::current_user().home) + "/" + name;
  for (const std::string& one : {path, path + std::string(kSessionSuffix)}) {
    if (exists(one)) return one;
  }
  return name;
}

}  // namespace mitm::cli
