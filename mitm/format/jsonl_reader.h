// What `--format jsonl` wrote, as flows again.
#pragma once

#include <memory>

#include "mitm/format/flow_file.h"

namespace mitm::format {

/// A flow comes when its end does; one that has none, at the end of the file, as interrupted.
/// Messages wait in memory for the end of their flow. A line that is no event is an error that
/// names it; the next ones can still be read.
[[nodiscard]] std::unique_ptr<FlowReader> make_jsonl_reader(ByteSource source);

}  // namespace mitm::format
