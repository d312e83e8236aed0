#include "mitm/cli/output_stream.h"

#include <cerrno>

#include <unistd.h>

#include "mitm/cli/log_line.h"

namespace mitm::cli {

OutputStream::OutputStream(std::FILE* out, Progress& progress)
    : out_(out), progress_(progress), terminal_(::isatty(::fileno(out)) == 1) {}

base::Result<> OutputStream::print(std::string_view bytes) {
  if (terminal_) progress_.erase();
  if (std::fwrite(bytes.data(), 1, bytes.size(), out_) == bytes.size()) return {};
  return base::os_error(out_ == stdout ? "cannot write to standard output" : "cannot write", errno);
}

void OutputStream::warn(std::string_view line) {
  progress_.erase();
  log_line(line, base::LogLevel::warning);
}

void OutputStream::leave_out(std::string_view line) {
  progress_.leave_out_flow();
  warn(line);
}

}  // namespace mitm::cli
