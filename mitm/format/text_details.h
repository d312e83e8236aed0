// What the text format shows below the first line of a flow, from detail 2 on.
#pragma once

#include <string>
#include <string_view>

#include "mitm/flow/records.h"
#include "mitm/format/sinks.h"

namespace mitm::format {

/// The process, both endpoints, TLS on both sides, and why the connection was intercepted or not.
void append_facts(std::string& out, const flow::ConnectionRecord& connection,
                  std::string_view http_version, const TextStyle& style);

/// The server's certificate and those that it sent with it; nothing when none was seen.
void append_certificates(std::string& out, const flow::ConnectionRecord& connection,
                         const TextStyle& style);

/// Header fields, from detail 3 on bodies, and trailers: ">" marks the request, "<" the response.
void append_request_and_response(std::string& out, const flow::HttpFlow& flow, bool ended,
                                 const TextStyle& style);

/// The payload of a message from detail 3 on, marked likewise; nothing of a WebSocket's close.
void append_payload(std::string& out, const flow::StreamMessage& message, const TextStyle& style);

/// The beginning of what was refused as malformed, marked with "!".
void append_refused(std::string& out, std::string_view refused, const TextStyle& style);

}  // namespace mitm::format
