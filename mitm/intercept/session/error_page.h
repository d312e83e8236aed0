// What an HTTP client is told when osproxy itself has to answer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mitm::intercept {

/// A complete HTTP/1.1 response with `Connection: close`; `body`: false for an answer to HEAD.
/// `text` is plain text, made safe to show.
std::string error_page(int status, std::string_view text, bool body);

/// The same as all that an HTTP/2 server says on a connection: SETTINGS, the answer to `stream`,
/// GOAWAY.
std::string http2_error_page(std::uint32_t stream, int status, std::string_view text, bool body);

}  // namespace mitm::intercept
