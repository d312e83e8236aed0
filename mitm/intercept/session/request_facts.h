// What a flow says of a request.
#pragma once

#include <cstdint>
#include <string_view>

#include "mitm/http/http1_head.h"
#include "mitm/http/http2.h"
#include "mitm/intercept/context/flow_recorder.h"

namespace mitm::intercept {

/// Fills the head of `flow`'s request, its URL and its host; moves them out of `head`.
void describe_request(http::Head& head, std::string_view scheme, const FlowRecorder& recorder,
                      flow::HttpFlow& flow);
void describe_request(http::Http2Head& head, const FlowRecorder& recorder, flow::HttpFlow& flow);

/// "h.test:443"; 0: it names none.
[[nodiscard]] std::uint16_t port_of(std::string_view authority);

}  // namespace mitm::intercept
