// What a flow says of a request.
#pragma once

#include <string_view>

#include "mitm/http/http1_head.h"
#include "mitm/intercept/tracked.h"

namespace mitm::intercept {

/// Fills method, URL, host, version and fields of `flow`; moves them out of `head`.
void describe_request(http::Head& head, std::string_view scheme, const Tracked& tracked, flow::Flow& flow);

}  // namespace mitm::intercept
