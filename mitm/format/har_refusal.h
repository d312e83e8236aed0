// Entries of a HAR for connections that were refused: no request came of them.
#pragma once

#include <string>
#include <string_view>

#include "mitm/flow/flow.h"

namespace mitm::format {

/// Whether a program asked for something and got nothing: its connection was blocked, TLS failed,
/// the server could not be reached. Not: QUIC, for which a program tries TCP.
[[nodiscard]] bool is_refusal(const flow::TcpFlow& flow);

/// As Chromium writes a request that failed: an answer with status 0, and `_error`. Its method is
/// CONNECT: what the program would have asked for is not known. `_osproxy.type` names the kind of
/// the flow, which stands whole in `log._flows`. `page`: id.
void append_har_refusal(std::string& out, const flow::TcpFlow& flow, std::string_view page,
                        bool with_secrets);

}  // namespace mitm::format
