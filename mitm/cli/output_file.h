// Opens the files that hold what programs sent, decrypted, and the secrets of their connections.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace mitm::cli {

struct StreamCloser {
  void operator()(std::FILE* stream) const { std::fclose(stream); }
};
/// A stream that is closed with its owner.
using UniqueStream = std::unique_ptr<std::FILE, StreamCloser>;

enum class OutputMode {
  replace,  ///< a file is to be emptied (empty_output_file()); a FIFO's reader is waited for
  /// A FIFO's reader is not waited for (an error); a later write(2) does not wait either, unless
  /// the path is a descriptor of the caller's that cannot be opened anew (a socket).
  append,
};

/// "-", /dev/stdout and /dev/fd/1.
[[nodiscard]] bool is_standard_output(const std::string& path);

/// Standard output, a descriptor, a FIFO or a terminal: what is written as it comes.
[[nodiscard]] bool is_stream(const std::string& path);

/// Opens `path` to write to it, for the calling user only: call it with that user's rights. Takes a
/// regular file or a FIFO of the user's own, whose mode is 0600 afterwards; creates a regular file;
/// takes a character device (a terminal, /dev/null). /dev/stdout, /dev/stderr and /dev/fd/N are the
/// caller's descriptor, whatever that is. Another user's file, one with a second name (a hard link:
/// of another directory's users), a symbolic link and anything else are errors that begin with
/// `said_by`, the option's name, and say what to do; such a file is left as it is.
[[nodiscard]] base::Result<base::UniqueFd> open_output_file(const std::string& path,
                                                            std::string_view said_by,
                                                            OutputMode mode);

/// Empties a regular file that was opened by its `path`; leaves what is inherited ("-", /dev/fd/N)
/// as it is. For OutputMode::replace, once nothing else can be refused.
[[nodiscard]] base::Result<> empty_output_file(int fd, const std::string& path,
                                               std::string_view said_by);

}  // namespace mitm::cli
