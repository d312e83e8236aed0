// Commands and programs that send the request of a flow again.
#pragma once

#include <memory>
#include <string_view>

#include "mitm/format/flow_file.h"

namespace mitm::format {

enum class Snippet : std::uint8_t { curl, httpie, wget, fetch, requests, raw };
/// "curl", "httpie", ...
[[nodiscard]] std::string_view to_string(Snippet snippet);

/// One after the other. The error of write() names what the tool cannot send.
[[nodiscard]] std::unique_ptr<FlowWriter> make_snippet_writer(Snippet snippet);

}  // namespace mitm::format
