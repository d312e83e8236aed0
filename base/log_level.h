// How much a line about the program itself matters.
#pragma once

namespace base {

/// The letters are those of the messages between broker and worker.
enum class LogLevel : char {
  info = 'i',     ///< the run does what was asked
  warning = 'w',  ///< something is missing or was lost; the run goes on as it can
  error = 'e',    ///< something that was asked for has failed
};

}  // namespace base
