// A message body as indented lines for a terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mitm::format {

/// Before each line that belongs to a flow's first line.
inline constexpr std::string_view kIndent = "    ";

struct Body {
  std::string_view kept;               ///< what --bodies let us keep
  std::optional<std::uint64_t> total;  ///< bytes that went over the wire; empty: not counted
  std::string_view coding;             ///< value of content-encoding
  std::string_view type{};             ///< value of content-type
};

struct BodyStyle {
  std::size_t limit = 0;    ///< bytes of the body that are shown
  std::string_view mark{};  ///< before each of its lines: ">" or "<"; not before our remarks
};

/// At most `style.limit` bytes of `body`, content codings undone: as text when it is text (in the
/// charset that its type names, else UTF-8, else, of a type of text, Latin 1), else as a hex dump
/// of its first 816 bytes. A body whose coding cannot be undone is shown as received, with a remark
/// below it. Nothing for an empty body.
void append_body(std::string& out, const Body& body, const BodyStyle& style);

}  // namespace mitm::format
