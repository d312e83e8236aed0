// Flows out of a session, or out of a file of another kind, that a filter selects.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "mitm/cli/progress.h"
#include "mitm/flow/flow.h"
#include "mitm/query/filter.h"

namespace mitm::cli {

class FlowSource {
 public:
  virtual ~FlowSource() = default;
  /// Empty: there are no more. An error names the file, and what in it is damaged.
  [[nodiscard]] virtual base::Result<std::optional<flow::Flow>> next() = 0;
  /// Whether next() may be called again after an error.
  [[nodiscard]] virtual bool goes_on() const = 0;
};

/// `typed`: a session, also by its name in the caller's directory of sessions, or any file that
/// format::open_flow_file() reads; "-": standard input, which cannot be a session. `sort`: "time",
/// "-size" (the largest first) ...; empty: as they came. Sorting takes a session. `progress`, which
/// must outlive it, is told how far it has got.
[[nodiscard]] base::Result<std::unique_ptr<FlowSource>> open_flow_source(
    const std::string& typed, const query::Filter& filter, const std::string& sort,
    Progress& progress);

}  // namespace mitm::cli
