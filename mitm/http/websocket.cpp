// Frames are followed by their headers; a payload is unmasked only as far as it is kept, or where
// its compression has to be followed.
#include "mitm/http/websocket.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include <zlib.h>

#include "base/ascii.h"

namespace mitm::http {
namespace {

using Kind = Message::Kind;

constexpr std::size_t kPiece = 4096;
/// What a compressor leaves out at the end of each message (RFC 7692 section 7.2.1).
constexpr std::string_view kTail{"\x00\x00\xff\xff", 4};

/// Where the first `separator` is that is in no quoted string (RFC 9110 section 5.6.4); else the
/// end.
std::size_t find_unquoted(std::string_view text, char separator) {
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (quoted && text[i] == '\\') {
      ++i;  // the next character is literal
    } else if (!quoted && text[i] == separator) {
      return i;
    }
  }
  return text.size();
}

/// Takes what precedes the next `separator` from the front of `text`.
std::string_view next_part(std::string_view& text, char separator) {
  const std::size_t end = find_unquoted(text, separator);
  const std::string_view part = base::trimmed(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

/// A token or a quoted string as its value.
std::string unquoted(std::string_view value) {
  if (!value.starts_with('"')) return std::string(value);
  std::string out;
  for (std::size_t i = 1; i < value.size() && value[i] != '"'; ++i) {
    if (value[i] == '\\' && i + 1 < value.size()) ++i;
    out += value[i];
  }
  return out;
}

int window_bits(std::string_view value) {
  const std::string number = unquoted(value);
  int bits = 0;
  std::from_chars(number.data(), number.data() + number.size(), bits);
  return bits >= 8 && bits <= 15 ? bits : 15;
}

void agree_on(std::string_view parameter, WebSocketTerms& terms) {
  const std::string_view name = next_part(parameter, '=');
  if (iequals(name, "client_no_context_takeover")) terms.program->takeover = false;
  if (iequals(name, "server_no_context_takeover")) terms.server->takeover = false;
  if (iequals(name, "client_max_window_bits"))
    terms.program->window_bits = window_bits(base::trimmed(parameter));
  if (iequals(name, "server_max_window_bits"))
    terms.server->window_bits = window_bits(base::trimmed(parameter));
}

void agree_on_all(std::string_view list, WebSocketTerms& terms) {
  while (!list.empty()) {
    std::string_view extension = next_part(list, ',');
    const std::string_view name = next_part(extension, ';');
    if (iequals(name, "permessage-deflate")) {
      terms.program.emplace();
      terms.server.emplace();
      while (!extension.empty()) agree_on(next_part(extension, ';'), terms);
    } else if (!name.empty()) {
      terms.unknown = name;
    }
  }
}

std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const unsigned char byte : bytes) value = value << 8U | byte;
  return value;
}

}  // namespace

WebSocketTerms websocket_terms(const Fields& response) {
  WebSocketTerms terms;
  for (std::size_t i = 0; i < response.size(); ++i) {
    const auto [name, value] = response[i];
    if (iequals(name, "sec-websocket-extensions")) agree_on_all(value, terms);
  }
  return terms;
}

/// The decompressor of one direction. Its window is allocated by zlib when something refers back.
class WebSocketReader::Inflater {
 public:
  explicit Inflater(int window_bits) {
    // A compressor that says 8 may mean 9 (zlib's own does).
    ready_ = inflateInit2(&stream_, -std::max(window_bits, 9)) == Z_OK;
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() {
    if (ready_) inflateEnd(&stream_);
  }

  /// Null, or why `message` cannot be read to its end. Takes what it unfolds from `credit`.
  const char* unfold(std::string_view coded, std::size_t limit, std::int64_t& credit,
                     Message& message) {
    if (!ready_) return "there is no memory to decompress messages in";
    std::array<char, 2 * kPiece> out{};
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(coded.data()));
    stream_.avail_in = static_cast<uInt>(coded.size());
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(out.data());
      stream_.avail_out = out.size();
      const int result = ::inflate(&stream_, Z_SYNC_FLUSH);
      const std::size_t size = out.size() - stream_.avail_out;
      *message.bytes += size;
      credit -= static_cast<std::int64_t>(size);
      keep({out.data(), size}, limit, message);
      // A block may say that it is the last; the next one still refers to it (RFC 7692
      // section 7.2.3.4).
      if (result == Z_STREAM_END) inflateResetKeep(&stream_);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        return "a compressed message cannot be decompressed";
      if (*message.bytes > kUnfolded) return "a compressed message unfolds to more than 64 MiB";
      if (credit < 0) return "compressed messages unfold to more than 200 times their size";
    } while (stream_.avail_in > 0 || stream_.avail_out == 0);
    return nullptr;
  }

 private:
  z_stream stream_{};
  bool ready_ = false;
};

WebSocketReader::WebSocketReader(Side side, const std::optional<PermessageDeflate>& deflate,
                                 std::size_t limit)
    : MessageReader(limit), side_(side), deflate_(deflate), unfolds_(limit > 0) {}

WebSocketReader::~WebSocketReader() = default;

void WebSocketReader::feed(std::string_view bytes, Handler& handler) {
  while (!bytes.empty() && !over_) {
    if (!in_payload_ && !take_header(bytes)) return;
    const std::string_view part = bytes.substr(0, std::min<std::uint64_t>(left_, bytes.size()));
    if (!part.empty()) take_payload(part);
    bytes.remove_prefix(part.size());
    left_ -= part.size();
    if (left_ == 0) end_frame(handler);
  }
}

/// Nor a window: without payloads it is not needed.
void WebSocketReader::keep_nothing() {
  limit_ = next_limit_ = 0;
  unfolds_ = false;
  window_lost_ = window_lost_ || (inflater_ && deflate_->takeover);
  inflater_.reset();
  drop_payload(message_);
}

std::size_t WebSocketReader::held() const {
  constexpr std::size_t kInflater = 48 << 10;  // state and window of zlib's
  return message_.payload.capacity() + control_.capacity() + (inflater_ ? kInflater : 0);
}

bool WebSocketReader::fail(const char* why) {
  error_ = why;
  over_ = true;
  inflater_.reset();
  message_ = {};
  return false;
}

/// Bytes of the header, as far as that is known.
std::size_t WebSocketReader::header_due() const {
  if (header_size_ < 2) return 2;
  const unsigned second = static_cast<unsigned char>(header_[1]);
  const unsigned length = second & 0x7fU;
  const std::size_t length_bytes = length == 127 ? 8 : length == 126 ? 2 : 0;
  return 2 + length_bytes + ((second & 0x80U) != 0 ? mask_.size() : 0);
}

/// True when it is whole; the payload follows then.
bool WebSocketReader::take_header(std::string_view& bytes) {
  while (header_size_ < header_due()) {
    if (bytes.empty()) return false;
    const std::size_t part = std::min(header_due() - header_size_, bytes.size());
    std::memcpy(header_.data() + header_size_, bytes.data(), part);
    header_size_ += part;
    bytes.remove_prefix(part);
  }
  return begin_frame(std::exchange(header_size_, 0));
}

bool WebSocketReader::begin_frame(std::size_t header_size) {
  const unsigned first = static_cast<unsigned char>(header_[0]);
  const unsigned second = static_cast<unsigned char>(header_[1]);
  const bool masked = (second & 0x80U) != 0;
  const std::size_t mask_at = header_size - (masked ? 4 : 0);
  const std::string_view header{header_.data(), header_size};
  length_ = mask_at == 2 ? second & 0x7fU : big_endian(header.substr(2, mask_at - 2));
  opcode_ = static_cast<Opcode>(first & 0x0fU);
  last_ = (first & 0x80U) != 0;
  if (const char* why = wrong_frame(first, masked)) return fail(why);
  if (masked) std::memcpy(mask_.data(), header_.data() + mask_at, mask_.size());
  left_ = length_;
  frame_bytes_ = header_size + length_;
  in_payload_ = true;
  if (is_control()) return true;
  if (opcode_ != Opcode::more) begin_message();
  message_.compressed |= (first & 0x40U) != 0;
  message_.wire_bytes += frame_bytes_;
  return true;
}

/// Null, or what is wrong with the frame whose header has come (RFC 6455 sections 5.2 to 5.5).
const char* WebSocketReader::wrong_frame(unsigned first, bool masked) const {
  const unsigned opcode = first & 0x0fU;
  if ((opcode > 2 && opcode < 8) || opcode > 10) return "a frame has a reserved opcode";
  if (masked != (side_ == Side::request))
    return masked ? "a frame of the server is masked" : "a frame of the program is not masked";
  const bool data = opcode == 1 || opcode == 2;
  if ((first & 0x30U) != 0 || ((first & 0x40U) != 0 && !(data && deflate_)))
    return "a frame has a reserved bit";
  if (length_ >> 63U != 0) return "a frame has an impossible length";
  if (is_control() && length_ > kControl) return "a control frame is longer than 125 bytes";
  if (is_control() && !last_) return "a control frame is fragmented";
  if (data && in_message_) return "a message begins before the one before it has ended";
  if (opcode_ == Opcode::more && !in_message_) return "a message goes on that has not begun";
  return nullptr;
}

void WebSocketReader::begin_message() {
  in_message_ = true;
  limit_ = next_limit_;
  unfolds_ = limit_ > 0 && !window_lost_;
  message_ = {};
  message_.kind = opcode_ == Opcode::text ? Kind::text : Kind::binary;
  message_.bytes = 0;
}

void WebSocketReader::unmask(char* bytes, std::size_t size, std::uint64_t at) const {
  if (side_ == Side::response) return;
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>(bytes[i] ^ mask_[(at + i) % 4]);
}

/// `part` begins where the payload has left_ bytes to go.
void WebSocketReader::take_payload(std::string_view part) {
  const std::uint64_t at = length_ - left_;
  if (is_control()) {
    control_ += part;
    unmask(control_.data() + at, part.size(), at);
  } else if (message_.compressed) {
    take_compressed(part);
  } else {
    const std::size_t kept = message_.payload.size();
    keep(part, limit_, message_);
    unmask(message_.payload.data() + kept, message_.payload.size() - kept, at);
    *message_.bytes += part.size();
  }
}

void WebSocketReader::take_compressed(std::string_view part) {
  if (!unfolds_) return;
  const auto earned = kRatio * static_cast<std::int64_t>(part.size());
  credit_ = std::min<std::int64_t>(credit_ + earned, kUnfolded);
  if (side_ == Side::response) return inflate(part);
  std::array<char, kPiece> clear{};
  for (std::uint64_t at = length_ - left_; !part.empty() && unfolds_;) {
    const std::size_t size = std::min(part.size(), clear.size());
    std::memcpy(clear.data(), part.data(), size);
    unmask(clear.data(), size, at);
    inflate({clear.data(), size});
    part.remove_prefix(size);
    at += size;
  }
}

void WebSocketReader::inflate(std::string_view part) {
  if (!inflater_) inflater_ = std::make_unique<Inflater>(deflate_->window_bits);
  const char* const why = inflater_->unfold(part, limit_, credit_, message_);
  if (why == nullptr) return;
  error_ = why;
  unfolds_ = false;
  window_lost_ = true;
  inflater_.reset();
}

void WebSocketReader::end_frame(Handler& handler) {
  in_payload_ = false;
  if (is_control()) return end_control(handler);
  if (!last_) return;
  if (message_.compressed && unfolds_) inflate(kTail);
  if (message_.compressed && !unfolds_) {
    message_.bytes.reset();
    message_.cut = true;
    window_lost_ = window_lost_ || deflate_->takeover;
  }
  if (inflater_ && !deflate_->takeover) inflater_.reset();
  in_message_ = false;
  handler.message(message_);
  message_ = {};
}

void WebSocketReader::end_control(Handler& handler) {
  Message message;
  message.kind = opcode_ == Opcode::ping   ? Kind::ping
                 : opcode_ == Opcode::pong ? Kind::pong
                                           : Kind::close;
  message.bytes = length_;
  message.wire_bytes = frame_bytes_;
  const std::string_view payload = control_;
  if (opcode_ != Opcode::close) {
    keep(payload, next_limit_, message);
  } else if (payload.size() >= 2) {
    message.code = static_cast<int>(big_endian(payload.substr(0, 2)));
    message.reason = payload.substr(2);
  }
  control_.clear();
  handler.message(message);
}

}  // namespace mitm::http
