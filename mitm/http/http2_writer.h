// HTTP/2 frames of our own, and header blocks compressed anew.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/http/http2.h"

struct nghttp2_hd_deflater;

namespace mitm::http {

/// A header field as a block has it; pseudo-header fields are fields.
struct Http2Field {
  std::string_view name;
  std::string_view value;
  bool never_indexed = false;  ///< RFC 7541 section 7.1.3: stays so when it is passed on
};
using Http2Fields = std::vector<Http2Field>;

/// The block of `head`, whose text it refers to, as it came. `status`: room for the text of
/// Http2Head::status.
[[nodiscard]] Http2Fields block_of(const Http2Head& head, std::string& status);
/// Has `fields` be as HTTP/2 wants them: names in lower case, none that are about the connection
/// (RFC 9113 section 8.2).
[[nodiscard]] Fields as_http2(const Fields& fields);

/// Compresses the header blocks of one direction in place of the sender's own compressor, from any
/// block on: the first one empties the receiver's table (RFC 7541 sections 4.2 and 4.3).
class Http2Compressor {
 public:
  /// `table`: what the receiver's table may occupy now, in bytes: that of a reader which has read
  /// along (Http2Reader::table_limit()).
  explicit Http2Compressor(std::uint32_t table);
  ~Http2Compressor();
  Http2Compressor(const Http2Compressor&) = delete;
  Http2Compressor& operator=(const Http2Compressor&) = delete;

  /// From the next block on, by SETTINGS of the receiver that the sender has acknowledged.
  void allow(std::uint32_t table);
  /// A whole block. Empty: out of memory.
  [[nodiscard]] std::string compress(const Http2Fields& fields);
  [[nodiscard]] std::string compress(const Http2Head& head);

 private:
  struct Free {
    void operator()(nghttp2_hd_deflater* deflater) const;
  };
  std::unique_ptr<nghttp2_hd_deflater, Free> deflater_;
  std::uint32_t table_;
};

/// Of a frame, with what RFC 9113 section 4.1 puts in front of its payload. `length`: of the
/// payload.
[[nodiscard]] std::string http2_frame_header(std::size_t length, std::uint8_t type,
                                             std::uint8_t flags, std::uint32_t stream);
/// HEADERS with their CONTINUATIONs, none of them larger than every receiver takes. `priority`:
/// five bytes, or none.
[[nodiscard]] std::string http2_headers(std::uint32_t stream, std::string_view block,
                                        bool ends_stream, std::string_view priority = {});
/// Likewise PUSH_PROMISE.
[[nodiscard]] std::string http2_promise(std::uint32_t stream, std::uint32_t promised,
                                        std::string_view block);
/// Whole frames of one stream get another number.
void http2_renumber(std::string& frames, std::uint32_t stream);
[[nodiscard]] std::string http2_reset(std::uint32_t stream, std::uint32_t code);
[[nodiscard]] std::string http2_window_update(std::uint32_t stream, std::uint32_t increment);

}  // namespace mitm::http
