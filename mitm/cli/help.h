// What --help prints.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace mitm::cli {

/// What --help says of a command beside its options.
struct HelpPage {
  std::string_view command;
  std::string_view summary;  ///< for the list of commands
  std::string_view usage;
  std::string_view text;
  std::string_view examples;
};
std::span<const HelpPage> help_pages();

std::string help_text(std::string_view command);  ///< "": the program's own

}  // namespace mitm::cli
