// Lines of osproxy itself on standard error.
#pragma once

#include <string_view>

namespace mitm::cli {

/// "osproxy: LINE" in one write(2). A line that cannot be written (a full disk, a reader that has gone) is
/// lost: nothing ends of it. From any thread.
void say(std::string_view line);

}  // namespace mitm::cli
