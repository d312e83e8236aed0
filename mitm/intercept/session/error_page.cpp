// Plain text on purpose: it is read in a terminal at least as often as in a browser.
#include "mitm/intercept/session/error_page.h"

#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nghttp2/nghttp2.h>

#include "base/text.h"

namespace mitm::intercept {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

std::string content_of(std::string_view text) {
  return fmt::format("osproxy: {}\n", base::printable(text));
}

std::string big_endian(std::size_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

/// RFC 9113 section 4.1.
std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                  std::string_view payload) {
  return big_endian(payload.size(), 3) + big_endian(type, 1) + big_endian(flags, 1) +
         big_endian(stream, 4) + std::string(payload);
}

/// RFC 7541 section 6.2.2: literals that need no table.
std::string literals(const Fields& fields) {
  std::string block;
  for (const auto& [name, value] : fields) {
    block += '\0';
    for (const std::string& text : {name, value}) block += big_endian(text.size(), 1) + text;
  }
  return block;
}

}  // namespace

std::string http2_error_page(std::uint32_t stream, int status, std::string_view text, bool body) {
  constexpr std::size_t kFrame = 16384;  // what every peer takes
  const std::string content = content_of(text).substr(0, kFrame);
  const std::string block = literals({{":status", std::to_string(status)},
                                      {"server", "osproxy"},
                                      {"content-type", "text/plain; charset=utf-8"},
                                      {"content-length", std::to_string(content.size())},
                                      {"cache-control", "no-store"}});
  const std::uint8_t last = body ? 0 : NGHTTP2_FLAG_END_STREAM;
  std::string out = frame(NGHTTP2_SETTINGS, 0, 0, {});
  out += frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | last, stream, block);
  if (body) out += frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, content);
  return out + frame(NGHTTP2_GOAWAY, 0, 0, big_endian(stream, 4) + big_endian(NGHTTP2_NO_ERROR, 4));
}

std::string error_page(int status, std::string_view text, bool body) {
  const std::string content = content_of(text);
  return fmt::format(
      "HTTP/1.1 {} {}\r\nServer: osproxy\r\nContent-Type: text/plain; charset=utf-8\r\n"
      "Content-Length: {}\r\n"
      "Cache-Control: no-store\r\nConnection: close\r\n\r\n{}",
      status, status == 400 ? "Bad Request" : "Bad Gateway", content.size(), body ? content : "");
}

}  // namespace mitm::intercept
