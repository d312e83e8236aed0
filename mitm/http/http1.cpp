// Where HTTP/1 messages begin and end. Bodies are only counted: no byte of them is copied, and a
// chunked body is followed byte for byte at its framing and skipped over at its data, so that it
// may be cut anywhere.
#include "mitm/http/http1.h"

#include "base/ascii.h"
#include "base/hex.h"

namespace mitm::http {
namespace {

constexpr std::size_t kNotFound = std::string_view::npos;

bool is_text(unsigned char c) {
  return (c >= 0x20 && c != 0x7f) || c == '\t';
}

}  // namespace

Http1Reader::Event Http1Reader::fail(const char* why) {
  error_ = why;
  state_ = State::bad;
  return {What::bad, 0, {}};
}

Http1Reader::Event Http1Reader::next(std::string_view input) {
  switch (state_) {
    case State::head:
      return read_head(input);
    case State::length:
      return read_length(input);
    case State::chunked:
      return read_chunked(input);
    case State::until_close:
      return input.empty() ? Event{} : Event{What::body, input.size(), input};
    case State::complete:
      // A response that more of its kind follow leaves what is being answered as it is.
      if (!head_.interim()) answers_ = Answers::ordinary;
      state_ = State::head;
      return {What::end, 0, {}};
    case State::bad:
      break;
  }
  return {What::bad, 0, {}};
}

Http1Reader::AtEnd Http1Reader::at_end(bool unread) const {
  if (state_ == State::until_close) return AtEnd::completes_body;
  return state_ == State::head && !unread ? AtEnd::between_messages : AtEnd::cuts_message;
}

/// One past the empty line that ends the head. Errors are left in error_.
std::size_t Http1Reader::find_head_end(std::string_view input) {
  for (;;) {
    const std::size_t lf = input.find('\n', scanned_);
    if (lf == kNotFound) return kNotFound;
    const bool crlf = lf > scanned_ && input[lf - 1] == '\r';
    const std::size_t length = lf - scanned_ - (crlf ? 1 : 0);
    if (begin_ == scanned_) bare_ = !crlf;
    if (side_ == Side::request && crlf == bare_)
      error_ = "the lines of the head end now in CR LF, now in a bare LF";
    if (error_ != nullptr) return kNotFound;
    const bool leading = length == 0 && begin_ == scanned_;
    scanned_ = lf + 1;
    if (leading)
      begin_ = scanned_;  // empty lines before a message are ignored (RFC 9112 section 2.2)
    if (length == 0 && !leading) return scanned_;
  }
}

/// Whatever else a server says instead of a response ends with the connection, as HTTP/0.9's
/// answers do.
bool Http1Reader::is_no_response(std::string_view input) const {
  const std::string_view text = input.substr(begin_);
  return side_ == Side::response && text != "\r" && !may_be_status_line(text);
}

Http1Reader::Event Http1Reader::read_head(std::string_view input) {
  const std::size_t end = find_head_end(input);
  if (is_no_response(input)) {
    head_ = {};
    head_.framing = Framing::until_close;
    state_ = State::until_close;
    return {What::head, 0, {}};
  }
  if (error_ == nullptr && (end == kNotFound ? input.size() : end) > kHeadLimit)
    error_ = "the head is longer than 256 KiB";
  if (error_ != nullptr) {
    head_ = {};  // else it would be that of the message before
    return fail(error_);
  }
  if (end == kNotFound) return {};
  const char* refused = parse_head(side_, answers_, input.substr(begin_, end - begin_), head_);
  if (refused != nullptr) return fail(refused);
  trailers_.clear();
  scanned_ = begin_ = 0;
  left_ = head_.length;
  line_bytes_ = 0;
  chunk_ = Chunk::size_start;
  switch (head_.framing) {
    case Framing::none:
      state_ = State::complete;
      break;
    case Framing::length:
      state_ = State::length;
      break;
    case Framing::chunked:
      state_ = State::chunked;
      break;
    case Framing::until_close:
      state_ = State::until_close;
      break;
  }
  return {What::head, end, {}};
}

Http1Reader::Event Http1Reader::read_length(std::string_view input) {
  if (input.empty()) return {};
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size()));
  left_ -= size;
  if (left_ == 0) state_ = State::complete;
  return {What::body, size, input.substr(0, size)};
}

/// Framing up to and including the next run of data.
Http1Reader::Event Http1Reader::read_chunked(std::string_view input) {
  std::size_t at = 0;
  while (at < input.size() && state_ == State::chunked) {
    if (chunk_ == Chunk::data) {
      const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size() - at));
      left_ -= size;
      if (left_ == 0) chunk_ = Chunk::data_cr;
      return {What::body, at + size, input.substr(at, size)};
    }
    if (!chunk_byte(static_cast<unsigned char>(input[at++]))) return fail(error_);
  }
  return at == 0 ? Event{} : Event{What::body, at, {}};
}

bool Http1Reader::chunk_byte(unsigned char byte) {
  const auto expect = [&](char wanted, Chunk then) {
    if (byte != static_cast<unsigned char>(wanted)) error_ = "a chunk does not end in CR LF";
    chunk_ = then;
    return error_ == nullptr;
  };
  switch (chunk_) {
    case Chunk::size_start:
    case Chunk::size:
    case Chunk::padding:
      return chunk_size_byte(byte);
    case Chunk::extension:
      return chunk_line_byte(byte, Chunk::size_lf);
    case Chunk::size_lf:
      return expect('\n', left_ > 0 ? Chunk::data : Chunk::trailer_start);
    case Chunk::data_cr:
      return expect('\r', Chunk::data_lf);
    case Chunk::data_lf:
      return expect('\n', Chunk::size_start);
    case Chunk::trailer_start:
      if (byte == '\r') {
        chunk_ = Chunk::last_lf;
        return true;
      }
      if (byte <= ' ' || byte == ':') error_ = "a trailer field is malformed";
      chunk_ = Chunk::trailer;
      return error_ == nullptr && trailer_byte(byte);
    case Chunk::trailer:
      return trailer_byte(byte);
    case Chunk::trailer_lf:
      finish_trailer();
      return expect('\n', Chunk::trailer_start);
    case Chunk::last_lf:
      state_ = State::complete;
      return expect('\n', Chunk::size_start);
    case Chunk::data:
      break;
  }
  return true;
}

bool Http1Reader::chunk_size_byte(unsigned char byte) {
  const int digit = base::hex_digit(static_cast<char>(byte));
  if (chunk_ == Chunk::size_start) {
    left_ = line_bytes_ = 0;
    if (digit < 0) error_ = "a chunk size is not a hexadecimal number";
  }
  if (error_ != nullptr) return false;
  if (digit >= 0 && chunk_ != Chunk::padding) {
    if (left_ >> 58 != 0) error_ = "a chunk size is too large";
    left_ = left_ << 4 | static_cast<unsigned>(digit);
    chunk_ = Chunk::size;
  } else if (byte == '\r') {
    chunk_ = Chunk::size_lf;
  } else if (byte == ';') {
    chunk_ = Chunk::extension;
  } else if ((byte == ' ' || byte == '\t') && side_ == Side::response) {
    chunk_ = Chunk::padding;  // old servers fill the size up to a fixed width
    if (++line_bytes_ > kTrailerLimit) error_ = "a chunk size has too much white space";
  } else {
    error_ = "a chunk size is not a hexadecimal number";
  }
  return error_ == nullptr;
}

bool Http1Reader::trailer_byte(unsigned char byte) {
  if (byte != '\r') trailer_ += static_cast<char>(byte);
  return chunk_line_byte(byte, Chunk::trailer_lf);
}

/// A line without a colon is a name without a value, as in a head.
void Http1Reader::finish_trailer() {
  const std::string_view line = trailer_;
  const auto colon = line.find(':');
  const auto value = colon == kNotFound ? std::string_view() : line.substr(colon + 1);
  trailers_.add(line.substr(0, colon), base::trimmed(value));
  trailer_.clear();
}

/// A byte of an extension or trailer, which are not interpreted but must be text and of bounded
/// length.
bool Http1Reader::chunk_line_byte(unsigned char byte, Chunk after_cr) {
  const bool harmless = is_text(byte) || (chunk_ == Chunk::trailer && byte != '\n' && byte != '\0');
  if (byte == '\r') {
    chunk_ = after_cr;
  } else if (!harmless) {
    error_ = "a chunk extension or trailer has a control character";
  } else if (++line_bytes_ > kTrailerLimit) {
    error_ = "chunk extensions and trailers are longer than 64 KiB";
  }
  return error_ == nullptr;
}

}  // namespace mitm::http
