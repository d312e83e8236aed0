// Files of sessions: what programs have sent, decrypted, is for their user only.
#pragma once

#include <string>

#include "base/error.h"

namespace mitm::store {

/// Makes an empty file with mode 0600 if there is none. One that exists must be empty or a session,
/// a regular file of the calling user's with a single name; its mode is 0600 afterwards. A symbolic
/// link, another user's file, other content and a directory that is missing are errors that name
/// it; the file is then as it was.
[[nodiscard]] base::Result<> ensure_own_file(const std::string& path);

/// Whether the file at `path`, which is not followed if it is a link, begins as a session does.
[[nodiscard]] bool is_session_file(const std::string& path);
/// The same of an open file.
[[nodiscard]] bool is_session(int file);

}  // namespace mitm::store
