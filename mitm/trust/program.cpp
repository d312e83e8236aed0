// Trust stores are changed by their own tools. These run with an argument list and a short
// environment, and on a user's files with that user's ids, so that no link in a home directory can
// make root write elsewhere.
#include "mitm/trust/program.h"

#include <array>

#include <sys/stat.h>

#include "base/text.h"

namespace mitm::trust {
namespace {

constexpr std::size_t kOutputLimit = 16 << 20;
constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::array kDirectories = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                     "/usr/bin",        "/sbin",          "/bin"};

}  // namespace

base::Result<base::Finished> run_tool(std::vector<std::string> arguments, const base::User& user,
                                      std::string input, std::chrono::seconds limit) {
  base::Program program;
  program.arguments = std::move(arguments);
  program.input = std::move(input);
  program.environment = {fmt::format("PATH={}", kPath), "LANG=C", "LC_ALL=C",
                         fmt::format("HOME={}", user.home), fmt::format("USER={}", user.name)};
  program.time_limit = limit;
  program.output_limit = kOutputLimit;
  program.user = user;
  program.merge_errors = true;
  return base::run(program);
}

std::string find_program(std::string_view name) {
  for (const char* directory : kDirectories) {
    const std::string path = fmt::format("{}/{}", directory, name);
    struct stat facts {};
    if (::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) && (facts.st_mode & 0111) != 0)
      return path;
  }
  return {};
}

std::string install_command(const PackageNames& names) {
  if (!find_program("apt-get").empty()) return fmt::format("apt install {}", names.debian);
  if (!find_program("dnf").empty()) return fmt::format("dnf install {}", names.fedora);
  if (!find_program("pacman").empty()) return fmt::format("pacman -S {}", names.arch);
  if (!find_program("zypper").empty()) return fmt::format("zypper install {}", names.suse);
  if (!find_program("pkg").empty()) return fmt::format("pkg install {}", names.freebsd);
  // macOS itself has sw_vers, and Homebrew is not where root looks for programs.
  if (!find_program("sw_vers").empty()) return fmt::format("brew install {}", names.homebrew);
  return fmt::format("install the package {}", names.debian);
}

base::Error program_error(std::string_view name, const base::Finished& finished) {
  std::string_view output = finished.out;
  while (!output.empty() && (output.back() == '\n' || output.back() == ' '))
    output.remove_suffix(1);
  output.remove_prefix(output.find_last_of('\n') == output.npos ? 0
                                                                : output.find_last_of('\n') + 1);
  if (output.empty()) return base::failure("{} failed (exit {})", name, finished.status);
  return base::failure("{} failed (exit {}): {}", name, finished.status, base::printable(output));
}

}  // namespace mitm::trust
