// What a flow says of a request.
#pragma once

#include <string_view>

#include "mitm/http/http1_head.h"
#include "mitm/http/http2.h"
#include "mitm/intercept/tracked.h"

namespace mitm::intercept {

/// Why an exchange is incomplete, by who was the first to end the connection: what the other side did then
/// (ending it too, mostly) is the consequence.
inline constexpr const char* kProgramLeft =
    "the program closed its side of the connection before the answer was complete";
inline constexpr const char* kServerLeft = "the server closed the connection before the answer was complete";

/// Fills method, URL, host, version and fields of `flow`; moves them out of `head`.
void describe_request(http::Head& head, std::string_view scheme, const Tracked& tracked, flow::Flow& flow);
void describe_request(http::Http2Head& head, const Tracked& tracked, flow::Flow& flow);

/// Keeps what fits into `limit` of a body that comes in parts; `cut`: there was more.
void capture_body(std::string_view part, std::size_t limit, std::string& body, bool& cut);

}  // namespace mitm::intercept
