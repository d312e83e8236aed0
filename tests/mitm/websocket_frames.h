// WebSocket as bytes, made by hand so that tests can also make it wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <zlib.h>

namespace websocket {

enum Opcode : std::uint8_t { kMore = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };
inline constexpr std::uint8_t kCompressed = 0x40;

/// `opcode` may carry reserved bits, as kCompressed.
inline std::string frame(unsigned opcode, std::string_view payload, bool masked, bool last = true) {
  std::string out{static_cast<char>(opcode | (last ? 0x80U : 0U))};
  const unsigned mask_bit = masked ? 0x80U : 0U;
  int length_bytes = 0;
  if (payload.size() > 0xffff) {
    out += static_cast<char>(127U | mask_bit);
    length_bytes = 8;
  } else if (payload.size() > 125) {
    out += static_cast<char>(126U | mask_bit);
    length_bytes = 2;
  } else {
    out += static_cast<char>(payload.size() | mask_bit);
  }
  for (int i = length_bytes - 1; i >= 0; --i)
    out += static_cast<char>(static_cast<std::uint64_t>(payload.size()) >> (8 * i) & 0xffU);
  if (!masked) return out.append(payload);
  constexpr std::string_view kMask = "\x37\xfa\x21\x3d";
  out += kMask;
  for (std::size_t i = 0; i < payload.size(); ++i)
    out += static_cast<char>(payload[i] ^ kMask[i % 4]);
  return out;
}
inline std::string says(unsigned opcode, std::string_view payload, bool last = true) {
  return frame(opcode, payload, false, last);  // the server
}
inline std::string asks(unsigned opcode, std::string_view payload, bool last = true) {
  return frame(opcode, payload, true, last);  // the program
}

/// The compressor of one direction.
class Deflater {
 public:
  explicit Deflater(bool takeover = true, int window_bits = 15) : takeover_(takeover) {
    deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -window_bits, 8, Z_DEFAULT_STRATEGY);
  }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  ~Deflater() { deflateEnd(&stream_); }

  /// The payload of one compressed message.
  std::string deflate(std::string_view message) {
    std::string out(message.size() + 1024, '\0');
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(message.data()));
    stream_.avail_in = static_cast<uInt>(message.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    ::deflate(&stream_, Z_SYNC_FLUSH);
    out.resize(out.size() - stream_.avail_out - 4);  // without 00 00 ff ff
    if (!takeover_) deflateReset(&stream_);
    return out;
  }

 private:
  z_stream stream_{};
  bool takeover_;
};

}  // namespace websocket
