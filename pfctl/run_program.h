// Other programs of the system: pfctl, ifconfig, netstat, kldload.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pfctl {

/// What a program that ran to its end left behind. A status other than 0 is not an error here: with
/// pfctl it means little.
struct Output {
  int status = 0;  ///< exit code; 128 + N when signal N ended it, as a shell counts
  std::string out;
  std::string err;
};

/// argv (argv[0] is an absolute path) and what the program reads as standard input. A value, so
/// that the steps can be tried against a machine that is not there.
using Runner = std::function<base::Result<Output>(const std::vector<std::string>& argv,
                                                  std::string_view input)>;

/// Runs a program and waits for its end; no shell, no search along PATH, a small fixed environment
/// (LC_ALL=C). Descriptors that are close-on-exec stay here. Blocking, at most for `limit`: then it
/// is killed. Errors: cannot be started, killed for its time, more than 4 MiB of output.
[[nodiscard]] base::Result<Output> run_program(
    const std::vector<std::string>& argv, std::string_view input,
    std::chrono::milliseconds limit = std::chrono::seconds(20));

}  // namespace pfctl
