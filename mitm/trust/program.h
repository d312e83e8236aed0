// The tools that trust stores are changed with.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/subprocess.h"
#include "base/user.h"

namespace mitm::trust {

/// Runs a tool with the ids of `user` (base::run(): no shell, no terminal) and little in its
/// environment: HOME and USER of `user`, PATH, LANG=C. What it writes to standard error is in its
/// output. Blocking. Errors: base::run()'s.
[[nodiscard]] base::Result<base::Finished> run_tool(
    std::vector<std::string> arguments, const base::User& user, std::string input = {},
    std::chrono::seconds limit = std::chrono::seconds(120));

/// Absolute path of a program in the system's own directories, never in $PATH; empty: there is
/// none.
std::string find_program(std::string_view name);

/// What installs a package here, by the package manager found: "apt install libnss3-tools".
struct PackageNames {
  std::string_view debian, fedora, arch, suse, freebsd, homebrew;
};
std::string install_command(const PackageNames& names);

/// "certutil failed (exit 255): its last line"
base::Error program_error(std::string_view name, const base::Finished& finished);

}  // namespace mitm::trust
