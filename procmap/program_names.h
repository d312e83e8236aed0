// What people call a program whose executable is called otherwise: python3 for /usr/bin/python3.11,
// npm for a node that runs npm-cli.js.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace procmap {

/// What stands behind the last slash of a path.
[[nodiscard]] constexpr std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

/// The names in `argv` that differ from `exe` (a full path, or a bare name): argv[0], and the
/// script that an interpreter runs (Python, Node, shells, Perl, Ruby, PHP, Java, Lua). Names or
/// paths as they were typed. Programs choose their argv[0] themselves: nothing that has to be safe
/// may rest on it.
std::vector<std::string> names_in_arguments(std::string_view exe,
                                            const std::vector<std::string>& argv);

}  // namespace procmap
