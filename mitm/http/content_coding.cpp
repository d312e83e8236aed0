// One function per library; each gets a buffer of the size that may result, so that nothing unfolds
// beyond it.
#include "mitm/http/content_coding.h"

#include <algorithm>
#include <vector>

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include "mitm/http/fields.h"

namespace mitm::http {
namespace {

constexpr int kGzipOrZlib = MAX_WBITS + 32;  // tells them apart itself
constexpr int kRaw = -MAX_WBITS;
constexpr std::size_t kCodings = 4;

/// How a decoder has ended.
struct End {
  bool reached = false;  ///< of the coding
  bool damaged = false;  ///< the decoder has refused the bytes
  std::size_t left = 0;  ///< coded bytes that were not read
};

std::optional<Decoded> settled(std::string out, std::size_t size, std::size_t coded, End end) {
  if (size == 0 && !end.reached && coded > 0) return std::nullopt;
  out.resize(size);
  return Decoded{std::move(out), end.reached, end.damaged, end.reached ? end.left : 0};
}

/// Whether another member of a gzip file follows, as far as its beginning is there.
bool begins_member(const z_stream& stream) {
  constexpr Bytef kMagic[] = {0x1f, 0x8b};
  const std::size_t size = std::min<std::size_t>(stream.avail_in, std::size(kMagic));
  return size > 0 && std::equal(kMagic, kMagic + size, stream.next_in);
}

std::optional<Decoded> inflate_with(int window_bits, std::string_view coded, std::size_t limit) {
  z_stream stream{};
  if (inflateInit2(&stream, window_bits) != Z_OK) return std::nullopt;
  std::string out(limit, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(coded.data()));
  stream.avail_in = static_cast<uInt>(coded.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  int result = inflate(&stream, Z_SYNC_FLUSH);
  while (result == Z_STREAM_END && window_bits == kGzipOrZlib && begins_member(stream)) {
    // Without room it is not known whether that member is empty: there is more.
    result = stream.avail_out == 0 ? Z_BUF_ERROR : inflateReset(&stream);
    if (result == Z_OK) result = inflate(&stream, Z_SYNC_FLUSH);
  }
  const std::size_t size = out.size() - stream.avail_out;
  const End end{result == Z_STREAM_END,
                result != Z_STREAM_END && result != Z_OK && result != Z_BUF_ERROR, stream.avail_in};
  inflateEnd(&stream);
  return settled(std::move(out), size, coded.size(), end);
}

/// "deflate" means zlib's format, which not every server knows.
std::optional<Decoded> inflate_any(std::string_view coded, std::size_t limit) {
  if (auto decoded = inflate_with(kGzipOrZlib, coded, limit)) return decoded;
  auto decoded = inflate_with(kRaw, coded, limit);
  // Without a frame nearly anything has a beginning that can be inflated.
  if (decoded && (decoded->damaged || decoded->trailing > 0)) return std::nullopt;
  return decoded;
}

std::optional<Decoded> unbrotli(std::string_view coded, std::size_t limit) {
  BrotliDecoderState* const state = BrotliDecoderCreateInstance(nullptr, nullptr, nullptr);
  if (!state) return std::nullopt;
  std::string out(limit, '\0');
  const auto* in = reinterpret_cast<const std::uint8_t*>(coded.data());
  auto* to = reinterpret_cast<std::uint8_t*>(out.data());
  std::size_t in_left = coded.size(), room = out.size();
  const auto result = BrotliDecoderDecompressStream(state, &in_left, &in, &room, &to, nullptr);
  BrotliDecoderDestroyInstance(state);
  const End end{result == BROTLI_DECODER_RESULT_SUCCESS, result == BROTLI_DECODER_RESULT_ERROR,
                in_left};
  return settled(std::move(out), limit - room, coded.size(), end);
}

std::optional<Decoded> unzstd(std::string_view coded, std::size_t limit) {
  ZSTD_DStream* const stream = ZSTD_createDStream();
  if (!stream) return std::nullopt;
  std::string out(limit, '\0');
  ZSTD_inBuffer in{coded.data(), coded.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  std::size_t result = 1;
  // One call may end with a frame or a block.
  while (in.pos < in.size && to.pos < to.size) {
    const std::size_t before = in.pos + to.pos;
    result = ZSTD_decompressStream(stream, &to, &in);
    if (ZSTD_isError(result) || in.pos + to.pos == before) break;
  }
  ZSTD_freeDStream(stream);
  const bool damaged = ZSTD_isError(result) != 0;
  return settled(std::move(out), to.pos, coded.size(),
                 {result == 0 && in.pos == in.size, damaged, 0});
}

std::optional<Decoded> undo(std::string_view coding, std::string_view coded, std::size_t limit) {
  if (iequals(coding, "gzip") || iequals(coding, "x-gzip"))
    return inflate_with(kGzipOrZlib, coded, limit);
  if (iequals(coding, "deflate")) return inflate_any(coded, limit);
  if (iequals(coding, "br")) return unbrotli(coded, limit);
  if (iequals(coding, "zstd")) return unzstd(coded, limit);
  return std::nullopt;
}

/// In the order in which they were applied, identity left out.
std::vector<std::string_view> codings_in(std::string_view list) {
  std::vector<std::string_view> codings;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view word = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    while (word.starts_with(' ') || word.starts_with('\t')) word.remove_prefix(1);
    while (word.ends_with(' ') || word.ends_with('\t')) word.remove_suffix(1);
    if (!word.empty() && !iequals(word, "identity")) codings.push_back(word);
  }
  return codings;
}

}  // namespace

std::optional<Decoded> decode_content(std::string_view content_encoding, std::string_view coded,
                                      std::size_t limit) {
  auto codings = codings_in(content_encoding);
  if (codings.size() > kCodings) return std::nullopt;
  const std::size_t count = codings.size();
  Decoded decoded{std::string(coded), true};
  for (; !codings.empty(); codings.pop_back()) {
    auto next = undo(codings.back(), decoded.bytes, limit);
    if (!next) return std::nullopt;
    next->whole = next->whole && decoded.whole;
    next->damaged = next->damaged || decoded.damaged;
    if (codings.size() < count) next->trailing = decoded.trailing;
    decoded = std::move(*next);
  }
  if (decoded.bytes.size() > limit) decoded = {decoded.bytes.substr(0, limit)};
  return decoded;
}

}  // namespace mitm::http
