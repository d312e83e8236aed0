// Where the sessions of a user are that were given no name, and how they are called.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace mitm::cli {

/// The word for --save that has a name made.
inline constexpr std::string_view kAutomaticName = "auto";
inline constexpr std::string_view kSessionSuffix = ".osp";

/// $XDG_STATE_HOME/osproxy/sessions, else ~/.local/state/osproxy/sessions. It need not exist.
std::string sessions_directory(const std::string& home);

/// "20261130-130435-curl.osp": local time and what `program` has of letters and digits.
std::string session_name(std::string_view program, std::chrono::system_clock::time_point time);

/// With the user's rights: makes the directory (0700) and in it an empty file (0600) of a name that
/// is not taken. Its path.
[[nodiscard]] base::Result<std::string> create_session_file(
    const std::string& home, std::string_view program, std::chrono::system_clock::time_point time);

/// The paths of what is called as sessions are in a directory, in the order of their names; of one
/// that cannot be read, none.
std::vector<std::string> session_files(const std::string& directory);

/// What a user has typed for a session: `name` itself if there is such a file, or it is a path;
/// otherwise the session of that name, with or without its suffix, in the directory of the calling
/// user's, if there is one.
std::string find_session(const std::string& name);

}  // namespace mitm::cli
