// The head of an HTTP/1 message: what its lines say and how the body that follows is delimited.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "mitm/http/fields.h"

namespace mitm::http {

enum class Side : std::uint8_t { request, response };

/// What a response answers, as far as it changes where the response ends (RFC 9112 section 6.3).
enum class Answers : std::uint8_t { ordinary, head, connect };

enum class Framing : std::uint8_t { none, length, chunked, until_close };

/// Whether a response has no body, whatever was asked for (RFC 9110 section 6.4.1).
[[nodiscard]] constexpr bool has_no_body(int status) {
  return status / 100 == 1 || status == 204 || status == 304;
}

struct Head {
  std::string method;  ///< requests
  std::string target;  ///< requests, as it stood in the request line
  int status = 0;      ///< responses; 0: it is not HTTP
  std::string reason;  ///< responses: the words behind the status
  int version = 11;    ///< 10, 11, or what was said instead of them
  Framing framing = Framing::none;
  std::uint64_t length = 0;  ///< when framing is length
  bool upgrade = false;      ///< Connection: upgrade with an Upgrade field
  Fields fields;

  /// A response that another one to the same request follows (100, 103, ...).
  [[nodiscard]] bool interim() const { return status >= 100 && status < 200 && status != 101; }
};

/// `text`: from the first line to the empty line, both included. Returns null, or why it is
/// refused: two readers could delimit the message differently (request smuggling). In requests that
/// is judged more strictly than in responses, where only the program that asked could be misled.
/// Whatever else breaks the grammar is kept as it is: a line without a colon becomes a name without
/// a value. `head` has the fields of what is refused as well.
[[nodiscard]] const char* parse_head(Side side, Answers answers, std::string_view text, Head& head);

/// Whether `text`, which may go on, can be the beginning of a status line.
[[nodiscard]] bool may_be_status_line(std::string_view text);

/// Takes every field called `name` (case-insensitive) out of a head, without changing its length:
/// its line becomes blanks behind the line before, which no reader takes for anything (RFC 9110
/// section 5.5).
void blank_out(std::span<char> head, std::string_view name);

}  // namespace mitm::http
