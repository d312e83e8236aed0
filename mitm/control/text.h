// Texts of rules: as they stand there, or files that are read when they are needed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.h"

namespace mitm::control {

/// Longer bodies are not changed, longer files not sent.
inline constexpr std::size_t kLargestBody = 16 << 20;

struct Text {
  std::string text{};
  std::string file{};  ///< a path; empty: `text` counts
};

/// Where paths that are not absolute begin.
struct Places {
  std::string directory{};
  std::string home{};          ///< of "~/"
  bool looks_at_files = true;  ///< false: whether they are there is another's question

  [[nodiscard]] std::string absolute(std::string_view path) const;
};

/// The bytes. Of a file: what is in it now, at most `limit` bytes; only regular files are read.
[[nodiscard]] base::Result<std::string> read(const Text& text, std::size_t limit = kLargestBody);
[[nodiscard]] base::Result<std::string> read_regular_file(const std::string& path,
                                                          std::size_t limit = kLargestBody);
[[nodiscard]] bool is_regular_file(const std::string& path);
/// Whether it is a regular file that can be read.
[[nodiscard]] base::Result<> check_file(const std::string& path);
/// Whether there is a file or a directory that can be read.
[[nodiscard]] base::Result<> check_mapped(const std::string& path);

/// "text/html" of "a/b.html"; empty: unknown.
[[nodiscard]] std::string_view content_type_of(std::string_view path);

/// A status that may be sent as an answer's: 200 to 599.
[[nodiscard]] constexpr bool is_answer(int status) {
  return status >= 200 && status <= 599;
}

/// "Not Found"; empty: unknown.
[[nodiscard]] std::string reason_of(int status);

}  // namespace mitm::control
