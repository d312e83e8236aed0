// What query, open, export and import have in common: from files to where flows go.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "mitm/cli/command_line.h"
#include "mitm/cli/flow_output.h"
#include "mitm/cli/flow_source.h"
#include "mitm/cli/progress.h"
#include "mitm/query/filter.h"

namespace mitm::cli {

/// Of FILE [FILTER], which query and export take: the filter, and the file, which it selects from.
[[nodiscard]] base::Result<query::Filter> filter_of_words(const Invocation& invocation);
[[nodiscard]] base::Result<std::vector<std::unique_ptr<FlowSource>>> source_of_words(
    const Invocation& invocation, const query::Filter& filter, Progress& progress);

/// All files that were named, or an error: one that is missing is known before anything is written,
/// for import also one that cannot be read. Of several files for open, one that cannot be read is
/// an error of its source's.
[[nodiscard]] base::Result<std::vector<std::unique_ptr<FlowSource>>> sources_of_files(
    const Invocation& invocation, const query::Filter& filter, Progress& progress);

/// Whole flows, or the columns of --fields, in the format that `settings` name.
[[nodiscard]] base::Result<std::unique_ptr<FlowOutput>> output_for(const Settings& settings,
                                                                   std::FILE* out,
                                                                   Progress& progress);

/// Gives all flows of `source` to `take`. What is damaged is said, and all that is whole is given;
/// false: there was damage. An error is that of `take`.
[[nodiscard]] base::Result<bool> transfer(
    FlowSource& source, Progress& progress,
    const std::function<base::Result<>(const flow::Flow& flow)>& take);

/// The same into an output, from all of them. The status of the command: 1 if there was damage.
/// A reader of standard output that has gone (`| head`) has seen enough.
[[nodiscard]] base::Result<int> transfer(const std::vector<std::unique_ptr<FlowSource>>& sources,
                                         FlowOutput& output, Progress& progress);

}  // namespace mitm::cli
