// Facts that mitmproxy has no keys for, in a flow's `metadata`.
#pragma once

#include "mitm/flow/flow.h"
#include "mitm/format/tnetstring.h"

namespace mitm::format {

/// The value of `metadata`.
void append_metadata(std::string& out, const flow::Flow& flow);

/// Null: `metadata` tells of no process.
[[nodiscard]] std::shared_ptr<const procmap::ProcessFacts> process_of(const TnetValue& metadata);

/// Empty if the key is missing.
[[nodiscard]] std::string text_of(const TnetValue& dict, std::string_view key);
/// Empty if the key is missing, or no integer that is 0 or more.
[[nodiscard]] std::optional<std::uint64_t> count_of(const TnetValue& dict, std::string_view key);

}  // namespace mitm::format
