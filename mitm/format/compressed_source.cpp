#include "mitm/format/compressed_source.h"

#include <algorithm>
#include <climits>

#include <zlib.h>
#include <zstd.h>

#include "mitm/format/source_buffer.h"

namespace mitm::format {
namespace {

constexpr std::size_t kMagic = 4;

/// Compressed bytes in, others out. Several members or frames in a row are one text.
class Decompressor {
 public:
  explicit Decompressor(std::shared_ptr<SourceBuffer> in) : in_(std::move(in)) {}
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  virtual ~Decompressor() = default;

  base::Result<std::size_t> read(std::span<char> out) {
    for (std::size_t made = 0; made == 0;) {
      if (in_->view().empty()) {
        auto more = in_->more();
        if (!more) return more.error();
        if (!*more && !between_) return base::failure("the compressed file ends too early");
        if (!*more) return std::size_t{0};
      }
      auto step = decompress(out);
      if (!step) return step;
      made = *step;
    }
    return made_;
  }

 protected:
  /// Uses up some of in_, and says how much of `out` it has filled.
  virtual base::Result<std::size_t> decompress(std::span<char> out) = 0;

  std::shared_ptr<SourceBuffer> in_;
  std::size_t made_ = 0;
  bool between_ = false;  ///< members: the file may end here
};

class Gzip final : public Decompressor {
 public:
  explicit Gzip(std::shared_ptr<SourceBuffer> in) : Decompressor(std::move(in)) {
    constexpr int kGzip = 16;
    good_ = inflateInit2(&stream_, MAX_WBITS + kGzip) == Z_OK;
  }
  ~Gzip() override { inflateEnd(&stream_); }

 private:
  base::Result<std::size_t> decompress(std::span<char> out) override {
    if (!good_) return base::failure("no memory for gzip");
    const std::string_view view = in_->view().substr(0, UINT_MAX);
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(view.data()));
    stream_.avail_in = static_cast<uInt>(view.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(out.size(), UINT_MAX));
    const uInt room = stream_.avail_out;
    const int status = inflate(&stream_, Z_NO_FLUSH);
    in_->consume(view.size() - stream_.avail_in);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      return base::failure("byte {} of the gzip file: damaged", in_->offset());
    between_ = status == Z_STREAM_END;
    if (between_) inflateReset(&stream_);
    return made_ = room - stream_.avail_out;
  }

  z_stream stream_{};
  bool good_ = false;
};

struct FreeZstd {
  void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
};

class Zstd final : public Decompressor {
 public:
  using Decompressor::Decompressor;

 private:
  base::Result<std::size_t> decompress(std::span<char> out) override {
    if (!stream_) return base::failure("no memory for zstd");
    const std::string_view view = in_->view();
    ZSTD_inBuffer from{view.data(), view.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const std::size_t status = ZSTD_decompressStream(stream_.get(), &to, &from);
    in_->consume(from.pos);
    if (ZSTD_isError(status) != 0) {
      return base::failure("byte {} of the zstd file: {}", in_->offset(),
                           ZSTD_getErrorName(status));
    }
    between_ = status == 0;
    return made_ = to.pos;
  }

  std::unique_ptr<ZSTD_DStream, FreeZstd> stream_{ZSTD_createDStream()};
};

}  // namespace

base::Result<ByteSource> decompressed(ByteSource source) {
  auto buffer = std::make_shared<SourceBuffer>(std::move(source));
  if (auto filled = buffer->fill(kMagic); !filled) return filled.error();
  const std::string_view view = buffer->view();
  std::shared_ptr<Decompressor> inside;
  if (view.starts_with("\x1f\x8b")) inside = std::make_shared<Gzip>(buffer);
  if (view.starts_with("\x28\xb5\x2f\xfd")) inside = std::make_shared<Zstd>(buffer);
  if (inside) return ByteSource([inside](std::span<char> out) { return inside->read(out); });
  return source_of(std::move(buffer));
}

}  // namespace mitm::format
