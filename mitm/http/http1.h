// An HTTP/1 stream cut into messages, without touching it: bytes in, events out, no I/O. The bytes
// themselves are passed on by the caller exactly as they came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mitm/http/http1_head.h"

namespace mitm::http {

/// Reads one direction of a connection.
class Http1Reader {
 public:
  static constexpr std::size_t kHeadLimit = 256 << 10;
  static constexpr std::size_t kTrailerLimit = 64 << 10;

  enum class What : std::uint8_t {
    need_more,  ///< the input is a prefix of something: come back with the same bytes and more
    head,  ///< a whole head, see head(); covers no bytes where a server says something else than
           ///< HTTP
    body,  ///< part of the body; `body` may be empty (chunk framing only)
    end,   ///< the message is complete; covers no bytes
    bad,   ///< see error(); the reader is of no further use
  };
  struct Event {
    What what = What::need_more;
    std::size_t size =
        0;  ///< bytes of the input that this event covers, to be dropped from its front
    std::string_view body;  ///< body bytes among them, without chunk framing
  };
  /// Where the end of the stream falls.
  enum class AtEnd : std::uint8_t { between_messages, completes_body, cuts_message };

  explicit Http1Reader(Side side) : side_(side) {}

  /// Of the next response. To be called before its head is read; holds for one response with its
  /// interim ones.
  void answers(Answers answers) { answers_ = answers; }

  /// The next event at the front of `input`, which is everything that no event has covered yet.
  Event next(std::string_view input);

  /// For the end of the stream. `unread`: bytes are left that next() has not covered.
  [[nodiscard]] AtEnd at_end(bool unread) const;

  /// Of the last head event, until the next one. Non-const: the fields may be moved out.
  [[nodiscard]] Head& head() { return head_; }
  /// Behind a chunked body, of the last end event, until the next head. Likewise.
  [[nodiscard]] Fields& trailers() { return trailers_; }
  [[nodiscard]] bool between_messages() const { return state_ == State::head; }
  /// Whether all that is left of the message is its end, which no byte says.
  [[nodiscard]] bool is_complete() const { return state_ == State::complete; }
  /// Whether the message that is being read ends with the connection.
  [[nodiscard]] bool reads_until_close() const { return state_ == State::until_close; }
  [[nodiscard]] const char* error() const { return error_; }

 private:
  enum class State : std::uint8_t { head, length, until_close, chunked, complete, bad };
  /// Inside a chunked body: what the next byte belongs to.
  enum class Chunk : std::uint8_t {
    size_start,
    size,
    padding,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,
    trailer,
    trailer_lf,
    last_lf,
  };

  Event fail(const char* why);
  Event read_head(std::string_view input);
  Event read_length(std::string_view input);
  Event read_chunked(std::string_view input);
  bool chunk_byte(unsigned char byte);
  bool chunk_size_byte(unsigned char byte);
  bool chunk_line_byte(unsigned char byte, Chunk after_cr);
  bool trailer_byte(unsigned char byte);
  void finish_trailer();
  [[nodiscard]] std::size_t find_head_end(std::string_view input);
  [[nodiscard]] bool is_no_response(std::string_view input) const;

  Side side_;
  Answers answers_ = Answers::ordinary;
  State state_ = State::head;
  Chunk chunk_ = Chunk::size_start;
  std::uint64_t left_ = 0;   ///< of the body or the chunk
  std::size_t scanned_ = 0;  ///< start of the head's first line that has not been seen in full
  std::size_t begin_ = 0;    ///< of the head, after empty lines
  bool bare_ = false;        ///< the lines of the head end in LF alone
  std::size_t line_bytes_ = 0;
  const char* error_ = nullptr;
  Head head_;
  std::string trailer_;  ///< the line so far
  Fields trailers_;
};

}  // namespace mitm::http
