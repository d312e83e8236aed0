// What has been read of a ByteSource and not been used yet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mitm/format/flow_file.h"

namespace mitm::format {

class SourceBuffer {
 public:
  explicit SourceBuffer(ByteSource source) : source_(std::move(source)) {}

  /// Reads until `bytes` are there, or the file ends. Memory grows with what comes, not with what
  /// is asked for. Views from before are invalid.
  base::Result<> fill(std::size_t bytes);
  /// Reads once more. False: the file has ended.
  base::Result<bool> more();
  [[nodiscard]] std::string_view view() const { return std::string_view(buffer_).substr(begin_); }
  void consume(std::size_t bytes) { begin_ += bytes; }
  /// Of the first byte of view() in the file.
  [[nodiscard]] std::uint64_t offset() const { return dropped_ + begin_; }
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  ByteSource source_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::uint64_t dropped_ = 0;
  bool ended_ = false;
};

/// What is in `buffer`, and then what follows.
[[nodiscard]] ByteSource source_of(std::shared_ptr<SourceBuffer> buffer);

}  // namespace mitm::format
