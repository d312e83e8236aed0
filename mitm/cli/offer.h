// `osproxy __complete`: what the shells' completions ask for while a line is being typed.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace mitm::cli {

/// The first word of such a command line.
inline constexpr std::string_view kCompleteCommand = "__complete";

/// A line for each text that may stand for `typed`, up to the cursor: the text and, behind a tab,
/// what it means. `kind`: "filter", a filter of flows; "fields", a list for --fields; "sessions",
/// names in the caller's directory. Empty: there is nothing to offer, or no such kind.
std::string offers(std::string_view kind, std::string_view typed);

}  // namespace mitm::cli
