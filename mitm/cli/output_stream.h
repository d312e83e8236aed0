// A stream that shares its terminal, if it is one, with a line of progress.
#pragma once

#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "mitm/cli/progress.h"

namespace mitm::cli {

/// Where the bytes of an output go. Copies write to the same stream.
class OutputStream {
 public:
  OutputStream(std::FILE* out, Progress& progress);

  [[nodiscard]] base::Result<> print(std::string_view bytes);
  /// A line on standard error.
  void warn(std::string_view line);
  /// What was to be printed has no place in the format, which the line says.
  void leave_out(std::string_view line);
  [[nodiscard]] bool is_terminal() const { return terminal_; }

 private:
  std::FILE* out_;
  Progress& progress_;
  bool terminal_;
};

}  // namespace mitm::cli
