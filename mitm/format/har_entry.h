// One entry of a HAR: an HTTP flow.
#pragma once

#include <string>
#include <string_view>

#include "mitm/flow/flow.h"

namespace mitm::format {

struct HarEntryStyle {
  bool with_secrets = false;
  bool opened_connection =
      false;              ///< the flow is the first one that the file has of its connection
  std::string_view page;  ///< id
};

/// When the entry begins: a flow that opened its connection, as long before its request as that
/// took.
[[nodiscard]] flow::Time har_start(const flow::HttpFlow& flow, bool opened_connection);

/// The object of `flow`, which is one of HTTP.
void append_har_entry(std::string& out, const flow::Flow& flow, const HarEntryStyle& style);

}  // namespace mitm::format
