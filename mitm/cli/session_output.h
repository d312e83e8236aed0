// The session of --save: made by the user's own process, written by the worker, closed behind it.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/user.h"
#include "mitm/cli/settings.h"
#include "mitm/flow/bus.h"

namespace mitm::cli {

/// With the user's rights: makes the file, or looks whether it can be continued. Makes the path
/// absolute. Nothing without --save.
[[nodiscard]] base::Result<> prepare_session(Settings& settings);

/// The subscriber that writes it; null without --save. With the rights of the file's owner, and
/// before the process is confined: SQLite opens its files by name.
[[nodiscard]] base::Result<std::unique_ptr<flow::Subscriber>> make_recorder(
    const Settings& settings);

/// Once the worker has ended, which may not remove files: takes what is in the log into the session
/// and removes the log, in a process of the user's.
void close_session(const std::string& path, const base::User& user);

}  // namespace mitm::cli
