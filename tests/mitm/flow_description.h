// What a whole flow holds, as text that tests compare.
#pragma once

#include <string>

#include "mitm/flow/flow.h"

namespace mitm::format {

/// Every field, one a line: "request.method: GET". Two flows are the same if these are.
std::string describe(const flow::Flow& flow);
/// The lines in which they differ: "-" what was expected, "+" what was found.
std::string differences(const flow::Flow& expected, const flow::Flow& found);

}  // namespace mitm::format
