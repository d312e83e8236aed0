// What people call a program whose executable is called otherwise: python3 for /usr/bin/python3.11,
// npm for a node that runs npm-cli.js.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace procmap {

/// What follows the last slash of a path.
[[nodiscard]] constexpr std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

/// The names in `argv` that differ from `exe` (a full path, or a bare name): argv[0], and the
/// script that an interpreter runs (Python, Node, shells, Perl, Ruby, PHP, Java, Lua). Names or
/// paths as they were typed. Programs choose their argv[0] themselves: nothing that has to be safe
/// may rest on it.
std::vector<std::string> names_in_arguments(std::string_view exe,
                                            const std::vector<std::string>& argv);

/// The base name of the program that an interpreter runs: npm-cli.js of a node, and npm when that
/// has written its name over its arguments. `exe` as there, `other_names` what that has returned.
/// Empty: no interpreter, or what it runs has no name (python3 -c ...).
std::string_view script_name(std::string_view exe, const std::vector<std::string>& other_names);

}  // namespace procmap
