// The session of --save: made by the user's own process, written by the worker, closed behind it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/user.h"
#include "mitm/cli/settings.h"
#include "mitm/flow/bus.h"

namespace mitm::cli {

/// What a run does to the file of --save.
enum class SessionFile : std::uint8_t {
  continued,  ///< it was there; or there is no --save
  created,
  named,  ///< created, and its name made up (--save auto)
};

/// With the user's rights: makes the file, or looks whether it can be continued. Makes the path
/// absolute; of "auto" a new file in the directory of sessions at `home`, named after `program`.
/// Nothing without --save. An error leaves no new file.
[[nodiscard]] base::Result<SessionFile> prepare_session(Settings& settings, const std::string& home,
                                                        std::string_view program);

/// The subscriber that writes it; null without --save. With the rights of the file's owner, and
/// before the process is confined: SQLite opens its files by name.
[[nodiscard]] base::Result<std::unique_ptr<flow::Subscriber>> make_recorder(
    const Settings& settings);

enum class EmptySession : std::uint8_t { kept, removed };

/// Once the worker has ended, which may not remove files: takes what is in the log into the session
/// and removes the log, in a process of the user's. Whether the session is there.
bool close_session(const std::string& path, const base::User& user, EmptySession empty);

}  // namespace mitm::cli
