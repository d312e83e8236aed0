// Other programs, run without a shell: the tools that trust stores are changed with.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "mitm/trust/store_status.h"

namespace mitm::trust {

struct Program {
  std::vector<std::string> arguments;  ///< [0] is the program's absolute path
  std::string input;                   ///< its stdin, at most 32 KiB
  std::chrono::seconds limit{120};     ///< killed, with all that it started, when it takes longer
};

struct Finished {
  int status = 0;      ///< exit status; 128 + n when signal n ended it
  std::string output;  ///< stdout and stderr as they came, the first MiB
};

/// Blocking. With little in its environment (HOME of `user`, PATH, LANG=C), no terminal, and the
/// ids of `user` when we are root. An error when it could not be started or took too long.
[[nodiscard]] base::Result<Finished> run(const Program& program, const StoreUser& user);

/// What `body` returns in a child that has the ids of `user`: for looking around in a user's home.
[[nodiscard]] base::Result<std::string> run_as(const StoreUser& user,
                                               const std::function<std::string()>& body);

/// Absolute path of a program in the system's own directories, never in $PATH; empty: there is
/// none.
std::string find_program(std::string_view name);

/// What installs a package here, by the package manager found: "apt install libnss3-tools".
struct PackageNames {
  std::string_view debian, fedora, arch, suse, freebsd, homebrew;
};
std::string install_command(const PackageNames& names);

/// "certutil failed (exit 255): its last line"
base::Error program_error(std::string_view name, const Finished& finished);

/// Ourselves, with our own ids.
StoreUser nobody_else();

}  // namespace mitm::trust
