// Flows as rows of fields, for query --fields.
#pragma once

#include <cstdio>
#include <memory>
#include <string_view>

#include "mitm/cli/flow_output.h"

namespace mitm::cli {

/// `names`: of fields, separated by commas. Text: a header, then a line for each flow; columns are
/// aligned on a terminal and separated by tabs elsewhere. JSON lines: an object for each flow, with
/// null for what is absent and an array for several values. CSV as in RFC 4180. Other formats are
/// an error, and so is a name that is unknown. `out` and `progress` as for make_flow_output().
[[nodiscard]] base::Result<std::unique_ptr<FlowOutput>> make_fields_output(std::string_view names,
                                                                           const Settings& settings,
                                                                           std::FILE* out,
                                                                           Progress& progress);

}  // namespace mitm::cli
