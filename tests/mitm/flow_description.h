// What a whole flow holds, as text that tests compare.
#pragma once

#include <string>

#include "mitm/flow/flow.h"

namespace mitm::flow {

/// What files of any format carry, one a line: "request.method: GET".
std::string describe(const Flow& flow);
/// The lines in which they differ: "-" what was expected, "+" what was found.
std::string differences(const Flow& expected, const Flow& found);
/// The same of all that a session keeps; ids are its own.
std::string differences_but_ids(const Flow& expected, const Flow& found);

}  // namespace mitm::flow
