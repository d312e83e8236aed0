// Where the text and JSON sinks put their bytes: one write(2) per batch.
#pragma once

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace mitm::format {

/// Works for files, pipes and terminals, blocking or not (stdout may have been made non-blocking by
/// another process that shares it). Blocks until the reader takes the bytes; SIGPIPE must be
/// ignored.
class Output {
 public:
  explicit Output(base::UniqueFd fd) : fd_(std::move(fd)) {}

  /// To append to, then call write_if_large() once.
  [[nodiscard]] std::string& buffer() { return buffer_; }
  [[nodiscard]] base::Result<> write_if_large();
  /// Writes everything. os_code of an error: EPIPE when the reader is gone, ENOSPC, ...
  [[nodiscard]] base::Result<> flush();

 private:
  base::UniqueFd fd_;
  std::string buffer_;
};

}  // namespace mitm::format
