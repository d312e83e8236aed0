// The original's bytes cannot be had again; what counts is that a reader who undoes the coding gets
// the text.
#include "mitm/format/content_coder.h"

#include <algorithm>
#include <climits>
#include <cstdint>

#include <zlib.h>
#include <zstd.h>

#include "base/ascii.h"

namespace mitm::format {
namespace {

std::optional<std::string> deflated(std::string_view bytes, int window_bits) {
  constexpr int kFast = 1, kMemory = 8;
  z_stream stream{};
  if (bytes.size() > UINT_MAX / 2 ||
      deflateInit2(&stream, kFast, Z_DEFLATED, window_bits, kMemory, Z_DEFAULT_STRATEGY) != Z_OK)
    return std::nullopt;
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const bool done = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (!done) return std::nullopt;
  return out;
}

std::optional<std::string> zstd_of(std::string_view bytes) {
  constexpr int kFast = 1;
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), kFast);
  if (ZSTD_isError(size) != 0) return std::nullopt;
  out.resize(size);
  return out;
}

/// Uncompressed meta-blocks (RFC 7932, section 9.2), each of which begins at a bit of its own and
/// has its bytes at the next whole byte.
std::string brotli_of(std::string_view bytes) {
  constexpr std::size_t kLargest = 1U << 16U;  // that four digits of 4 bits can count
  std::string out;
  unsigned pending = 0b0, bits = 1;  // WBITS: 16
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, kLargest);
    // ISLAST 0, MNIBBLES 4 (two zero bits), MLEN - 1 (16 bits), ISUNCOMPRESSED 1.
    const std::uint64_t header = (part.size() - 1) << 3U | std::uint64_t{1} << 19U;
    std::uint64_t all = header << bits | pending;
    for (unsigned written = 0; written < bits + 20; written += 8, all >>= 8U)
      out += static_cast<char>(all & 0xffU);
    out += part;
    bytes.remove_prefix(part.size());
    pending = bits = 0;
  }
  out += static_cast<char>(0b11U << bits | pending);  // ISLAST, ISLASTEMPTY
  return out;
}

}  // namespace

std::optional<std::string> encode_content(std::string_view content_encoding,
                                          std::string_view bytes) {
  constexpr int kGzip = 16;
  const std::string coding = base::lowercase(base::trimmed(content_encoding));
  if (coding == "gzip" || coding == "x-gzip") return deflated(bytes, MAX_WBITS + kGzip);
  if (coding == "deflate") return deflated(bytes, MAX_WBITS);
  if (coding == "zstd") return zstd_of(bytes);
  if (coding == "br") return brotli_of(bytes);
  return std::nullopt;
}

}  // namespace mitm::format
