#include "mitm/format/wire_bytes.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/ip_packet.h"
#include "mitm/flow/dns_names.h"
#include "mitm/format/dns_data.h"
#include "mitm/http/http2.h"

namespace mitm::format::wire {
namespace {

/// Frames of HTTP/2 (RFC 9113, 6).
enum FrameType : std::uint8_t { kData = 0, kHeaders = 1, kSettings = 4, kContinuation = 9 };
constexpr std::size_t kMaxFrame = 16384;

void append_fields(std::string& out, const http::Fields& fields) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    out.append(name).append(": ").append(value).append("\r\n");
  }
  out += "\r\n";
}

std::string version_of(std::string_view version) {
  return fmt::format("HTTP/{}", version == "1.0" ? version : "1.1");
}

void append_frame(std::string& out, FrameType type, std::uint8_t flags, std::uint32_t stream,
                  std::string_view payload) {
  base::append_byte(out, static_cast<std::uint8_t>(payload.size() >> 16U));
  base::append_word(out, static_cast<std::uint16_t>(payload.size()));
  base::append_byte(out, type);
  base::append_byte(out, flags);
  base::append_long(out, stream);
  out += payload;
}

/// A number behind a prefix of seven bits (RFC 7541, 5.1), and as many bytes of text.
void append_text(std::string& out, std::string_view text) {
  constexpr std::size_t kPrefix = 0x7f;
  std::size_t size = text.size();
  base::append_byte(out, static_cast<std::uint8_t>(std::min(size, kPrefix)));
  if (size >= kPrefix) {
    for (size -= kPrefix; size >= 0x80; size >>= 7U)
      base::append_byte(out, static_cast<std::uint8_t>(size | 0x80U));
    base::append_byte(out, static_cast<std::uint8_t>(size));
  }
  out += text;
}

/// A literal that enters no table: what was written before does not matter to it.
void append_literal(std::string& out, std::string_view name, std::string_view value) {
  out += '\0';
  append_text(out, base::lowercase(name));
  append_text(out, value);
}

void append_literals(std::string& out, const http::Fields& fields) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    append_literal(out, name, value);
  }
}

std::string header_frames(std::string_view block, std::uint32_t stream, bool end_stream) {
  std::string out;
  FrameType type = kHeaders;
  std::uint8_t flags = end_stream ? kEndStream : 0;
  do {
    const std::string_view part = block.substr(0, kMaxFrame);
    block.remove_prefix(part.size());
    if (block.empty()) flags |= kEndHeaders;
    append_frame(out, type, flags, stream, part);
    type = kContinuation;
    flags = 0;
  } while (!block.empty());
  return out;
}

constexpr std::uint8_t opcode_of(http::Message::Kind kind) {
  using enum http::Message::Kind;
  switch (kind) {
    case text:
      return 1;
    case close:
      return 8;
    case ping:
      return 9;
    case pong:
      return 10;
    default:
      return 2;
  }
}

std::string payload_of(const http::Message& message) {
  if (message.kind != http::Message::Kind::close) return message.payload;
  std::string payload;
  if (message.code == 0) return payload;
  base::append_word(payload, static_cast<std::uint16_t>(message.code));
  return payload + message.reason;
}

/// Header and question. `flags`: of the second word of the header.
std::string dns_beginning(const flow::DnsFlow& dns, std::uint16_t flags, std::size_t answers) {
  std::string out;
  base::append_word(out, static_cast<std::uint16_t>(dns.id));
  base::append_word(out, flags);
  base::append_word(out, 1);
  base::append_word(out, static_cast<std::uint16_t>(answers));
  base::append_long(out, 0);
  out += dns_data_bytes(flow::kCname, dns.name);
  base::append_word(out, flow::dns_type_number(dns.type));
  base::append_word(out, 1);  // IN
  return out;
}

}  // namespace

std::string request_head(const flow::Request& request) {
  std::string out =
      fmt::format("{} {} {}\r\n", request.method, request.target.empty() ? "/" : request.target,
                  version_of(request.version));
  append_fields(out, request.fields);
  return out;
}

std::string response_head(int status, std::string_view reason, std::string_view version,
                          const http::Fields& fields) {
  std::string out = fmt::format("{} {} {}\r\n", version_of(version), status, reason);
  append_fields(out, fields);
  return out;
}

bool is_chunked(const http::Fields& fields) {
  return base::lowercase(fields.find("transfer-encoding")).find("chunked") != std::string::npos;
}

std::string last_chunk(const http::Fields& trailers) {
  std::string out = "0\r\n";
  append_fields(out, trailers);
  return out;
}

std::string client_preface() {
  return std::string(http::kClientPreface) + server_preface();
}

std::string server_preface() {
  std::string out;
  append_frame(out, kSettings, 0, 0, {});
  return out;
}

std::string request_headers(const flow::Request& request, std::uint32_t stream, bool end_stream) {
  std::string block;
  append_literal(block, ":method", request.method);
  if (!request.authority.empty()) append_literal(block, ":authority", request.authority);
  if (!request.scheme.empty()) append_literal(block, ":scheme", request.scheme);
  if (!request.target.empty()) append_literal(block, ":path", request.target);
  append_literals(block, request.fields);
  return header_frames(block, stream, end_stream);
}

std::string response_headers(int status, const http::Fields& fields, std::uint32_t stream,
                             bool end_stream) {
  std::string block;
  append_literal(block, ":status", std::to_string(status));
  append_literals(block, fields);
  return header_frames(block, stream, end_stream);
}

std::string trailers(const http::Fields& fields, std::uint32_t stream) {
  std::string block;
  append_literals(block, fields);
  return header_frames(block, stream, true);
}

std::string data(std::string_view bytes, std::uint32_t stream, bool end_stream) {
  std::string out;
  do {
    const std::string_view part = bytes.substr(0, kMaxFrame);
    bytes.remove_prefix(part.size());
    append_frame(out, kData, bytes.empty() && end_stream ? kEndStream : 0, stream, part);
  } while (!bytes.empty());
  return out;
}

WebSocketFrame websocket_frame(const http::Message& message, bool from_client) {
  constexpr std::uint8_t kFinal = 0x80, kMasked = 0x80;
  const std::string payload = payload_of(message);
  const std::uint64_t size = std::max<std::uint64_t>(payload.size(), message.bytes.value_or(0));
  const std::uint8_t mask = from_client ? kMasked : 0;
  WebSocketFrame frame;
  frame.missing = size - payload.size();
  base::append_byte(frame.bytes, kFinal | opcode_of(message.kind));
  if (size < 126) {
    base::append_byte(frame.bytes, static_cast<std::uint8_t>(mask | size));
  } else if (size <= 0xffff) {
    base::append_byte(frame.bytes, mask | 126U);
    base::append_word(frame.bytes, static_cast<std::uint16_t>(size));
  } else {
    base::append_byte(frame.bytes, mask | 127U);
    base::append_long(frame.bytes, static_cast<std::uint32_t>(size >> 32U));
    base::append_long(frame.bytes, static_cast<std::uint32_t>(size));
  }
  if (from_client) frame.bytes.append(4, '\0');
  frame.bytes += payload;
  return frame;
}

std::string dns_question(const flow::DnsFlow& dns) {
  constexpr std::uint16_t kRecursionDesired = 0x0100;
  return dns_beginning(dns, kRecursionDesired, 0);
}

std::string dns_answer(const flow::DnsFlow& dns) {
  constexpr std::uint16_t kResponse = 0x8180;  // recursion desired and available
  constexpr std::uint16_t kRcode = 0xf;
  std::string out = dns_beginning(dns, kResponse | (flow::dns_rcode_number(dns.rcode) & kRcode),
                                  dns.answers.size());
  for (const auto& answer : dns.answers) {
    const std::uint16_t type = flow::dns_type_number(answer.type);
    const std::string bytes = dns_data_bytes(type, answer.data);
    out += dns_data_bytes(flow::kCname, answer.name);
    base::append_word(out, type);
    base::append_word(out, 1);
    base::append_long(out, answer.ttl);
    base::append_word(out, static_cast<std::uint16_t>(bytes.size()));
    out += bytes;
  }
  return out;
}

}  // namespace mitm::format::wire
