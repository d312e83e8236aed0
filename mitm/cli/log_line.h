// Lines of osproxy itself on standard error.
#pragma once

#include <string_view>

namespace mitm::cli {

/// "osproxy: LINE" in one write(2), LINE made printable. A line that cannot be written (a full
/// disk, a reader that has gone) is lost: nothing ends of it. From any thread. Waits for the
/// reader, unless log_without_waiting() was called.
void log_line(std::string_view line);

/// From here on log_line() never waits, in this process: a thread does, which starts with the first
/// line (no fork(2) from then on). Lines that find no room are dropped, and counted in a line of
/// their own.
void log_without_waiting();

/// Waits until all is said, for a second at most.
void flush_log();

}  // namespace mitm::cli
