// Content codings undone for readers of a body. What goes over the wire stays as it is.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mitm::http {

struct Decoded {
  std::string bytes;
  bool whole = false;    ///< everything; else as much as `limit`, or what was there of the coded
                         ///< bytes, allowed
  bool damaged = false;  ///< what follows `bytes` is not in the coding
  std::size_t trailing =
      0;  ///< coded bytes behind the end of the outermost coding, which are not undone
};

/// Undoes the codings that `content_encoding` lists (RFC 9110 section 8.4): gzip, deflate (with or
/// without zlib's frame), br, zstd, identity; of gzip all members (RFC 1952 section 2.2), of zstd
/// all frames. `coded` may be the beginning of a body. Never more than `limit` bytes, however much
/// they would unfold to. Empty: a coding that is not known here, or bytes that are not in it.
[[nodiscard]] std::optional<Decoded> decode_content(std::string_view content_encoding,
                                                    std::string_view coded, std::size_t limit);

}  // namespace mitm::http
