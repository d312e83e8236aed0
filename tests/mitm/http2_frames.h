// HTTP/2 as bytes, made by hand so that tests can also make it wrong.
#pragma once

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
