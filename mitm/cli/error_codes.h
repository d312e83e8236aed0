// Values of base::Error::os_code that are no errno.
#pragma once

namespace mitm::cli {

/// os_code of what is wrong with how osproxy was called: exit status 2.
inline constexpr int kUsageError = -1;
/// os_code of an error whose text has a line for each of several things that are wrong.
inline constexpr int kSeveralErrors = -2;
/// os_code of both: a usage error whose text has several lines.
inline constexpr int kUsageErrorOfLines = -3;

constexpr bool is_usage_error(int os_code) {
  return os_code == kUsageError || os_code == kUsageErrorOfLines;
}
constexpr bool has_several_lines(int os_code) {
  return os_code == kSeveralErrors || os_code == kUsageErrorOfLines;
}

}  // namespace mitm::cli
