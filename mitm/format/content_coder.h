// Content codings, for files that keep bodies without them beside the fields that name them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mitm::format {

/// `bytes` in the coding that `content_encoding` names: gzip, deflate, zstd, and br without
/// compression. Empty: another one, or several.
[[nodiscard]] std::optional<std::string> encode_content(std::string_view content_encoding,
                                                        std::string_view bytes);

}  // namespace mitm::format
