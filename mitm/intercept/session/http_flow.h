// What a flow says of a request.
#pragma once

#include <cstdint>
#include <string_view>

#include "mitm/http/http1_head.h"
#include "mitm/http/http2.h"
#include "mitm/intercept/context/flow_recorder.h"

namespace mitm::intercept {

/// Why an exchange is incomplete, by who was the first to end the connection: what the other side
/// did then (ending it too, mostly) is the consequence.
inline constexpr const char* kProgramLeft =
    "the program closed its side of the connection before the answer was complete";
inline constexpr const char* kServerLeft =
    "the server closed the connection before the answer was complete";

/// Fills method, URL, host, version and fields of `flow`; moves them out of `head`.
void describe_request(http::Head& head, std::string_view scheme, const FlowRecorder& recorder,
                      flow::Flow& flow);
void describe_request(http::Http2Head& head, const FlowRecorder& recorder, flow::Flow& flow);

/// "h.test:443"; 0: it names none.
[[nodiscard]] std::uint16_t port_of(std::string_view authority);

/// Why header fields are missing in a flow.
inline constexpr const char* kNoMemoryForFields =
    "the memory for all connections was used up: header fields were not recorded";

/// Shortens method, URL and host to 1 KiB each. False: they were no longer than that.
bool cut_request_line(flow::Flow& flow);

/// Keeps what fits into the settings' limit of a body that comes in parts; `cut`: there was more,
/// or the memory that payloads of all connections may take was used up. Returns by how much `body`
/// has grown.
std::size_t capture_body(std::string_view part, const Context& shared, std::string& body,
                         bool& cut);

/// Bytes of memory that the heads of `flow` occupy, roughly.
[[nodiscard]] std::size_t cost_of_request(const flow::Flow& flow);
[[nodiscard]] std::size_t cost_of_response(const flow::Flow& flow);

}  // namespace mitm::intercept
