// Lines about osproxy itself: events while there is a bus, else on standard error.
#pragma once

#include <memory>
#include <string_view>

#include "base/log_level.h"
#include "mitm/flow/bus.h"

namespace mitm::cli {

/// "osproxy: LINE" in one write(2), LINE made printable; or a flow::LogLine, in the life of a
/// LogLinesOnBus. A line that cannot be written (a full disk, a reader that has gone) is lost:
/// nothing ends of it. From any thread. Waits for the reader, unless log_without_waiting() was
/// called.
void log_line(std::string_view line, base::LogLevel level = base::LogLevel::warning);

/// As long as it lives, what is logged in this process is published on `bus`, whose subscribers
/// decide where it is shown. One at a time.
class LogLinesOnBus {
 public:
  explicit LogLinesOnBus(flow::Bus& bus);
  LogLinesOnBus(const LogLinesOnBus&) = delete;
  LogLinesOnBus& operator=(const LogLinesOnBus&) = delete;
  ~LogLinesOnBus();
};

/// Writes flow::LogLine events to standard error as log_line() does without a bus. `flows` is where
/// the text or JSON subscriber writes: when that is the same terminal, pipe or file, both share a
/// queue of the bus, and their lines come in the order of their events. Else log lines do not wait
/// for a reader of flows.
[[nodiscard]] std::unique_ptr<flow::Subscriber> make_log_sink(int flows);

/// From here on log_line() never waits, in this process: a thread does, which starts with the first
/// line (no fork(2) from then on). Lines that find no room are dropped, and counted in a line of
/// their own.
void log_without_waiting();

/// Waits until all is said, for a second at most.
void flush_log();

}  // namespace mitm::cli
