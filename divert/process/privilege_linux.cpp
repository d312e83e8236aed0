// prctl(2), /proc.
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "divert/process/privilege.h"

namespace divert {
namespace {

bool number_is(std::string_view text, gid_t gid) {
  gid_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value == gid;
}

/// Whether a `Gid:` or `Groups:` line of /proc/PID/status names the group.
bool process_has_group(const std::filesystem::path& process, gid_t gid) {
  std::ifstream file{process / "status"};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Gid:") && !line.starts_with("Groups:")) continue;
    std::istringstream words{line.substr(line.find(':') + 1)};
    for (std::string word; words >> word;) {
      if (number_is(word, gid)) return true;
    }
  }
  return false;
}

}  // namespace

bool seal() {
  return ::prctl(PR_SET_DUMPABLE, 0) == 0 && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

std::string tracer() {
  std::ifstream file{"/proc/self/status"};
  pid_t pid = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("TracerPid:"))
      pid = static_cast<pid_t>(std::strtol(line.c_str() + 10, nullptr, 10));
  }
  if (pid == 0) return {};
  const auto comm = base::read_file(fmt::format("/proc/{}/comm", pid), 64);
  const std::string_view name = comm ? std::string_view{*comm} : "?";
  return fmt::format("process {} ({})", pid, base::printable(name.substr(0, name.find('\n'))));
}

std::vector<pid_t> processes_with_group(gid_t gid) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc", ignored}) {
    const std::string name = entry.path().filename();
    if (name[0] >= '0' && name[0] <= '9' && process_has_group(entry.path(), gid))
      found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

}  // namespace divert
