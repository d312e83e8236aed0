// Encoding is OpenSSL's, which takes sizes as int and ends its output with a zero.
#include "base/base64.h"

#include <cstddef>
#include <cstdint>

#include <openssl/evp.h>

namespace base {

void append_base64(std::string& out, std::string_view bytes) {
  constexpr std::size_t kPiece = 3U << 20U;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kPiece);
    const std::size_t before = out.size();
    out.resize(before + (piece.size() + 2) / 3 * 4 + 1);
    const int written = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data() + before),
                                        reinterpret_cast<const unsigned char*>(piece.data()),
                                        static_cast<int>(piece.size()));
    out.resize(before + static_cast<std::size_t>(written));
    bytes.remove_prefix(piece.size());
  }
}

std::string base64(std::string_view bytes) {
  std::string out;
  append_base64(out, bytes);
  return out;
}

std::string from_base64url(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const auto digit = kDigits.find(c);
    if (digit == kDigits.npos) break;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  return bytes;
}

}  // namespace base
