// Other programs, run to their end without a shell.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/user.h"

namespace base {

struct Program {
  std::vector<std::string> arguments;  ///< [0]: the program's absolute path
  std::string input{};                 ///< its standard input
  std::vector<std::string> environment{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"};
  std::chrono::milliseconds time_limit = std::chrono::seconds(20);
  std::size_t output_limit = 4 << 20;  ///< bytes, of both outputs together
  std::optional<User> user{};          ///< runs with this user's ids; empty: with ours
  bool merge_errors = false;           ///< standard error goes where standard output goes
  bool keep_partial_output = false;    ///< what was written within the time limit is enough
};

/// What a program left behind. A status other than 0 is not an error here: with pfctl it means
/// little.
struct Finished {
  int status = 0;  ///< exit code; 128 + N when signal N ended it, as a shell counts
  std::string out;
  std::string err;
};

/// Runs a program and waits for its end. It gets no terminal, none of our descriptors, "/" as its
/// directory, and signals as in a new login. Blocking, at most for `time_limit`: then it is killed
/// with all that it started. Errors: it cannot be started (os_code of execve(2)), took too long,
/// wrote too much. With `user` it must not be called beside threads that allocate memory or look up
/// users.
[[nodiscard]] Result<Finished> run(const Program& program);

/// What `body` returns in a child that has the ids of `user`: for reading a user's files with that
/// user's rights. Without a child when they are ours. Blocking, at most for 20 seconds. Errors: no
/// child, it took too long or died.
[[nodiscard]] Result<std::string> run_as(const User& user,
                                         const std::function<std::string()>& body);

/// For a child: default effects of all signals, and none blocked.
void restore_signals();

}  // namespace base
