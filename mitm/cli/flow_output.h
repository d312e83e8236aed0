// Where query, open and export put flows: a stream, in one of the formats.
#pragma once

#include <cstdio>
#include <memory>

#include "base/error.h"
#include "mitm/cli/command_line.h"
#include "mitm/cli/progress.h"
#include "mitm/cli/settings.h"
#include "mitm/flow/flow.h"

namespace mitm::cli {

class FlowOutput {
 public:
  virtual ~FlowOutput() = default;
  /// An error ends it; what has no place in the format is said, and counted.
  [[nodiscard]] virtual base::Result<> write(const flow::Flow& flow) = 0;
  [[nodiscard]] virtual base::Result<> end() = 0;
};

/// As Settings::file_format says, with its options. `out` and `progress`, which is erased before
/// anything is written to a terminal, must outlive it. An error if it is a format of bytes and
/// `out` a terminal.
[[nodiscard]] base::Result<std::unique_ptr<FlowOutput>> make_flow_output(const Settings& settings,
                                                                         std::FILE* out,
                                                                         Progress& progress);
/// Says of options that were given which do nothing for this format.
void say_unused_options(const Invocation& invocation, FileFormat format);
/// Prints how many there were.
[[nodiscard]] std::unique_ptr<FlowOutput> make_flow_counter();

}  // namespace mitm::cli
