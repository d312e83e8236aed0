// A session without the room that deleted flows have left.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"

namespace mitm::store {

struct Compacted {
  std::uint64_t before = 0, after = 0;  ///< bytes of the file
};

/// Writes the session at `path` anew beside it and puts it in its place, with mode 0600: a disk
/// that gets full, or a kill, leaves the session as it was. An error if another process has it
/// open, or if it is not the calling user's own. `on_progress`, which may be empty, is told now and
/// then how much has been written, and what it was.
[[nodiscard]] base::Result<Compacted> compact(
    const std::string& path,
    const std::function<void(std::uint64_t done, std::uint64_t total)>& on_progress);

}  // namespace mitm::store
