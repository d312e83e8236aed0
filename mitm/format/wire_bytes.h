// Recorded requests, responses and messages as they could have gone over the wire. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mitm/flow/records.h"

namespace mitm::format::wire {

/// HTTP/1: the head, with its empty line.
[[nodiscard]] std::string request_head(const flow::Request& request);
[[nodiscard]] std::string response_head(int status, std::string_view reason,
                                        std::string_view version, const http::Fields& fields);
/// Whether the body that belongs to these fields comes in chunks.
[[nodiscard]] bool is_chunked(const http::Fields& fields);
/// What ends a body in chunks.
[[nodiscard]] std::string last_chunk(const http::Fields& trailers);

enum FrameFlag : std::uint8_t { kEndStream = 0x1, kEndHeaders = 0x4 };

/// HTTP/2: what each side begins with (RFC 9113, 3.4).
[[nodiscard]] std::string client_preface();
[[nodiscard]] std::string server_preface();
/// HEADERS with as many CONTINUATION frames as it takes. `end_stream`: nothing follows.
[[nodiscard]] std::string request_headers(const flow::Request& request, std::uint32_t stream,
                                          bool end_stream);
[[nodiscard]] std::string response_headers(int status, const http::Fields& fields,
                                           std::uint32_t stream, bool end_stream);
[[nodiscard]] std::string trailers(const http::Fields& fields, std::uint32_t stream);
/// DATA frames of up to 16 KiB.
[[nodiscard]] std::string data(std::string_view bytes, std::uint32_t stream, bool end_stream);

/// One frame of a WebSocket, not compressed; from the client with a mask of zeros. What the record
/// has less than the message had (`missing`) would stand behind it.
struct WebSocketFrame {
  std::string bytes;
  std::uint64_t missing = 0;
};
[[nodiscard]] WebSocketFrame websocket_frame(const http::Message& message, bool from_client);

/// Messages of DNS (RFC 1035), without what is not recorded: other sections and flags.
[[nodiscard]] std::string dns_question(const flow::DnsFlow& dns);
[[nodiscard]] std::string dns_answer(const flow::DnsFlow& dns);

}  // namespace mitm::format::wire
