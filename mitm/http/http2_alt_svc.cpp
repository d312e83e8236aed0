// A walk over the representations of a block needs no table: a field's name that is not spelled out
// was spelled out before, and has been hidden there. Since only the last octet of the name changes,
// nothing has to be held back until it is known.
#include "mitm/http/http2_alt_svc.h"

#include <algorithm>
#include <string_view>

#include <nghttp2/nghttp2.h>

namespace mitm::http {
namespace {

/// The field's name, and what its last octet becomes: "alt-sv0", whose code is no longer either.
struct Spelling {
  std::string_view name;
  char last;
};
constexpr Spelling kPlain{"alt-svc", '0'};
constexpr Spelling kHuffman{"\x1d\x09\x59\x1d\xc9", '\xc1'};

/// Instead of NGHTTP2_ALTSVC; for experiments (RFC 7540 section 11.2).
constexpr char kUnknownFrame = '\xfa';

constexpr std::size_t kTypeAt = 3, kFlagsAt = 4;

}  // namespace

void Http2AltSvc::hide(std::span<char> bytes) {
  while (!bytes.empty()) {
    if (header_size_ < header_.size()) {
      frame_header(bytes.front());
      bytes = bytes.subspan(1);
      continue;
    }
    const auto here = bytes.first(std::min(left_, bytes.size()));
    if (in_block_) {
      payload(here);
    } else {
      left_ -= here.size();
    }
    if (left_ == 0) header_size_ = 0;
    bytes = bytes.subspan(here.size());
  }
}

// Frames.

void Http2AltSvc::frame_header(char& octet) {
  header_[header_size_] = static_cast<unsigned char>(octet);
  if (header_size_ == kTypeAt && header_[kTypeAt] == NGHTTP2_ALTSVC) octet = kUnknownFrame;
  if (++header_size_ == header_.size()) begin_frame();
}

void Http2AltSvc::begin_frame() {
  left_ = static_cast<std::size_t>(header_[0]) << 16 | static_cast<std::size_t>(header_[1]) << 8 |
          header_[2];
  const unsigned char type = header_[kTypeAt], flags = header_[kFlagsAt];
  const bool headers = type == NGHTTP2_HEADERS, promise = type == NGHTTP2_PUSH_PROMISE;
  in_block_ = headers || promise || type == NGHTTP2_CONTINUATION;
  pad_length_due_ = (headers || promise) && (flags & NGHTTP2_FLAG_PADDED) != 0;
  const bool priority = headers && (flags & NGHTTP2_FLAG_PRIORITY) != 0;
  ahead_ = (pad_length_due_ ? 1U : 0U) + (priority ? 5U : 0U) + (promise ? 4U : 0U);
  padding_ = 0;
  if (headers || promise) part_ = Part::field;
  if (left_ == 0) header_size_ = 0;
}

void Http2AltSvc::payload(std::span<char> bytes) {
  while (!bytes.empty()) {
    std::size_t used = 1;
    if (pad_length_due_) padding_ = static_cast<unsigned char>(bytes.front());
    pad_length_due_ = false;
    if (ahead_ > 0) {
      --ahead_;
    } else if (left_ > padding_) {
      used = block(bytes.first(std::min(bytes.size(), left_ - padding_)));
    }
    left_ -= used;
    bytes = bytes.subspan(used);
  }
}

// Header blocks.

/// Returns how many of `bytes` it has dealt with.
std::size_t Http2AltSvc::block(std::span<char> bytes) {
  const auto value = static_cast<unsigned char>(bytes.front());
  switch (part_) {
    case Part::field:
      begin_field(value);
      break;
    case Part::index:
      if (value < 0x80) part_ = after_index_;
      break;
    case Part::size:
      huffman_ = value >= 0x80;
      size_ = value & 0x7f;
      shift_ = 0;
      part_ = Part::more_size;
      if (size_ < 0x7f) begin_string();
      break;
    case Part::more_size:
      more_size(value);
      break;
    case Part::string:
      return string(bytes);
  }
  return 1;
}

/// Its first bits say what it is: a field by index, a literal for the table, a new size of the
/// table, or another literal; the others, how it begins: an index, or 0 and a name.
void Http2AltSvc::begin_field(unsigned char octet) {
  int bits = 4;
  if (octet >= 0x80) {
    bits = 7;
  } else if (octet >= 0x40) {
    bits = 6;
  } else if (octet >= 0x20) {
    bits = 5;
  }
  const bool literal = bits == 6 || bits == 4;
  const int most = (1 << bits) - 1;
  const int index = octet & most;
  name_ = literal && index == 0;
  after_index_ = literal ? Part::size : Part::field;
  part_ = index == most ? Part::index : after_index_;
}

void Http2AltSvc::more_size(unsigned char octet) {
  if (shift_ < 32) size_ += static_cast<std::uint64_t>(octet & 0x7f) << shift_;
  shift_ = std::min(shift_ + 7, 32U);  // no decompressor takes more
  if (octet < 0x80) begin_string();
}

void Http2AltSvc::begin_string() {
  at_ = 0;
  spelled_ = name_ && size_ == (huffman_ ? kHuffman : kPlain).name.size();
  part_ = Part::string;
  if (size_ == 0) end_string();
}

std::size_t Http2AltSvc::string(std::span<char> bytes) {
  const Spelling& spelling = huffman_ ? kHuffman : kPlain;
  spelled_ = spelled_ && bytes.front() == spelling.name[at_];
  const std::size_t used =
      spelled_ ? 1 : static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), size_ - at_));
  at_ += used;
  if (at_ < size_) return used;
  if (spelled_) bytes.front() = spelling.last;
  end_string();
  return used;
}

void Http2AltSvc::end_string() {
  part_ = name_ ? Part::size : Part::field;
  name_ = false;
}

}  // namespace mitm::http
