// HTTP/2 as bytes, made by hand so that tests can also make it wrong.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

namespace frames {

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

using List = std::vector<std::pair<std::string, std::string>>;

inline std::string number(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

inline std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                         std::string_view payload = {}) {
  return number(static_cast<std::uint32_t>(payload.size()), 3) + number(type, 1) +
         number(flags, 1) + number(stream, 4) + std::string(payload);
}

/// The compressor of one direction: what it has packed must be sent in that order, so one call per
/// statement.
class Packer {
 public:
  explicit Packer(std::size_t table = 4096) { nghttp2_hd_deflate_new(&deflater_, table); }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;
  ~Packer() { nghttp2_hd_deflate_del(deflater_); }

  std::string pack(const List& list) {
    std::vector<nghttp2_nv> fields;
    for (const auto& [name, value] : list) {
      fields.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                        reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())),
                        name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    std::string out(nghttp2_hd_deflate_bound(deflater_, fields.data(), fields.size()), '\0');
    const auto size = nghttp2_hd_deflate_hd(deflater_, reinterpret_cast<std::uint8_t*>(out.data()),
                                            out.size(), fields.data(), fields.size());
    out.resize(static_cast<std::size_t>(size));
    return out;
  }
  void change_table(std::size_t size) { nghttp2_hd_deflate_change_table_size(deflater_, size); }

  std::string headers(std::uint32_t stream, const List& list, bool last) {
    return frame(
        NGHTTP2_HEADERS,
        static_cast<std::uint8_t>(NGHTTP2_FLAG_END_HEADERS | (last ? NGHTTP2_FLAG_END_STREAM : 0)),
        stream, pack(list));
  }

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
};

/// The receiver's.
class Decompressor {
 public:
  explicit Decompressor(std::size_t table = 4096) {
    nghttp2_hd_inflate_new(&inflater_);
    nghttp2_hd_inflate_change_table_size(inflater_, table);
  }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  ~Decompressor() { nghttp2_hd_inflate_del(inflater_); }

  /// "name: value\n" of each field, "!" behind a name that is never to be indexed.
  std::string read(std::string_view block) {
    std::string text;
    const auto* at = reinterpret_cast<const std::uint8_t*>(block.data());
    std::size_t left = block.size();
    for (;;) {
      nghttp2_nv nv;
      int flags = 0;
      const auto used = nghttp2_hd_inflate_hd2(inflater_, &nv, &flags, at, left, 1);
      if (used < 0) return "damaged";
      at += used;
      left -= static_cast<std::size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        text.append(reinterpret_cast<const char*>(nv.name), nv.namelen);
        if ((nv.flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0) text += "!";
        text.append(": ").append(reinterpret_cast<const char*>(nv.value), nv.valuelen);
        text += "\n";
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    return text;
  }
  [[nodiscard]] std::size_t table() const {
    return nghttp2_hd_inflate_get_dynamic_table_size(inflater_);
  }
  [[nodiscard]] nghttp2_hd_inflater* get() const { return inflater_; }

 private:
  nghttp2_hd_inflater* inflater_ = nullptr;
};

/// What one direction says, in words: a line for each frame, "headers 1 end :method: GET; ...".
class Transcript {
 public:
  explicit Transcript(std::size_t table = 4096) : blocks_(table) {}

  /// Whole frames.
  std::string read(std::string_view bytes) {
    std::string text;
    if (bytes.starts_with(kPreface)) bytes.remove_prefix(kPreface.size());
    while (bytes.size() >= 9) {
      std::size_t length = 0;
      for (std::size_t i = 0; i < 3; ++i)
        length = length << 8U | static_cast<unsigned char>(bytes[i]);
      const auto type = static_cast<std::uint8_t>(bytes[3]);
      const auto flags = static_cast<std::uint8_t>(bytes[4]);
      text += line(type, flags, word(bytes.substr(5)), bytes.substr(9, length)) + "\n";
      bytes.remove_prefix(std::min(bytes.size(), 9 + length));
    }
    return bytes.empty() ? text : text + "and " + std::to_string(bytes.size()) + " bytes";
  }

 private:
  static std::uint32_t word(std::string_view bytes) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value = value << 8U | static_cast<unsigned char>(bytes.at(i));
    return value & 0x7fffffffU;
  }
  std::string line(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                   std::string_view payload) {
    const std::string of = " " + std::to_string(stream);
    const std::string end = (flags & NGHTTP2_FLAG_END_STREAM) != 0 ? " end" : "";
    switch (type) {
      case NGHTTP2_DATA:
        return "data" + of + end + " " + std::string(payload);
      case NGHTTP2_HEADERS: {
        const bool priority = (flags & NGHTTP2_FLAG_PRIORITY) != 0;
        std::string fields = blocks_.read(payload.substr(priority ? 5 : 0));
        for (char& c : fields) c = c == '\n' ? ';' : c;
        return "headers" + of + end + " " + fields;
      }
      case NGHTTP2_RST_STREAM:
        return "reset" + of + " " + std::to_string(word(payload));
      case NGHTTP2_WINDOW_UPDATE:
        return "window" + of + " " + std::to_string(word(payload));
      case NGHTTP2_SETTINGS:
        return (flags & NGHTTP2_FLAG_ACK) != 0 ? "settings acknowledged" : "settings";
      case NGHTTP2_GOAWAY:
        return "goaway " + std::to_string(word(payload));
      default:
        return "frame of type " + std::to_string(type) + of;
    }
  }

  Decompressor blocks_;
};

inline std::string data(std::uint32_t stream, std::string_view bytes, bool last) {
  return frame(NGHTTP2_DATA, last ? NGHTTP2_FLAG_END_STREAM : 0, stream, bytes);
}
inline std::string reset(std::uint32_t stream, std::uint32_t code) {
  return frame(NGHTTP2_RST_STREAM, 0, stream, number(code, 4));
}
inline std::string settings(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& list = {}) {
  std::string payload;
  for (const auto& [id, value] : list) payload += number(id, 2) + number(value, 4);
  return frame(NGHTTP2_SETTINGS, 0, 0, payload);
}
inline std::string window(std::uint32_t stream, std::uint32_t increment) {
  return frame(NGHTTP2_WINDOW_UPDATE, 0, stream, number(increment, 4));
}
inline std::string acknowledgement() {
  return frame(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0);
}

inline List get(std::string path) {
  return {{":method", "GET"},
          {":scheme", "https"},
          {":authority", "h.test"},
          {":path", std::move(path)}};
}

}  // namespace frames
