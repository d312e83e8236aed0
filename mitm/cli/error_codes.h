// Values of base::Error::os_code that are no errno.
#pragma once

namespace mitm::cli {

/// os_code of what is wrong with how osproxy was called: exit status 2.
inline constexpr int kUsageError = -1;
/// os_code of an error whose text has a line for each of several things that are wrong.
inline constexpr int kSeveralErrors = -2;

}  // namespace mitm::cli
