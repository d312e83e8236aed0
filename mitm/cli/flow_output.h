// Where `query` puts flows: standard output, in one of the formats.
#pragma once

#include <memory>

#include "base/error.h"
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

/// An error if it is a format of bytes and standard output a terminal.
[[nodiscard]] base::Result<std::unique_ptr<FlowOutput>> make_flow_output(const Settings& settings);
/// Prints how many there were.
[[nodiscard]] base::Result<std::unique_ptr<FlowOutput>> make_flow_counter();

}  // namespace mitm::cli
