// Not by fmt::print, which throws: on the bus's thread, or out of a callback of OpenSSL's, that
// would be the end of the worker. Paths, hosts and what other programs print come in here as they
// are.
#include "mitm/cli/log_line.h"

#include <unistd.h>

#include "base/fd.h"
#include "base/line_writer.h"
#include "base/text.h"

namespace mitm::cli {
namespace {

using namespace std::chrono_literals;

/// Lasts as long as the process: a thread that hangs in write(2) may still use it.
base::LineWriter* writer = nullptr;

}  // namespace

void log_line(std::string_view line) {
  std::string text = fmt::format("osproxy: {}\n", base::printable(line));
  if (writer != nullptr) return writer->put(std::move(text));
  (void)base::write_all(STDERR_FILENO, text);
}

void log_without_waiting() {
  if (writer != nullptr) return;
  writer = new base::LineWriter{
      STDERR_FILENO, [](std::size_t count) {
        return fmt::format("osproxy: {} lines are missing here: they were not read\n", count);
      }};
}

void flush_log() {
  if (writer != nullptr) (void)writer->wait(1s);
}

}  // namespace mitm::cli
