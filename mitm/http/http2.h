// An HTTP/2 connection, looked at in passing: bytes in, events out, no I/O. The bytes themselves
// are passed on by the caller exactly as they came, so that settings, priorities, flow control,
// compression state and whatever else program and server agree on stay theirs.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/http/fields.h"
#include "mitm/http/http1_head.h"

struct nghttp2_hd_inflater;

namespace mitm::http {

/// What a client says first (RFC 9113 section 3.4).
inline constexpr std::string_view kClientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A header block: of a request, a response, or trailers (which have no pseudo-header fields, RFC
/// 9113 section 8.3).
struct Http2Head {
  std::string method, scheme, authority, path;
  std::string protocol;  ///< of an extended CONNECT (RFC 8441)
  int status = 0;        ///< 0: none, or none that has three digits
  Fields fields;         ///< without pseudo-header fields, in their order
  /// The pseudo-header fields as they came: m(ethod), s(cheme), a(uthority), p(ath), (pr)o(tocol),
  /// (s)t(atus); '?': unknown.
  std::string order;
  /// Fields that are never to be put into a table (RFC 7541 section 7.1.3): their places in the
  /// block, pseudo-header fields counted.
  std::vector<std::uint16_t> never_indexed;

  [[nodiscard]] bool interim() const { return status >= 100 && status < 200; }
};

/// What of SETTINGS changes how the other direction is read.
struct Http2Settings {
  std::optional<std::uint32_t> table_size;  ///< SETTINGS_HEADER_TABLE_SIZE
  std::optional<bool> push;                 ///< SETTINGS_ENABLE_PUSH
  std::optional<std::uint32_t> window{};    ///< SETTINGS_INITIAL_WINDOW_SIZE
};

/// Of the field HTTP2-Settings, with which a program asks for HTTP/2 (RFC 7540 section 3.2.1). What
/// is no such field says nothing.
[[nodiscard]] Http2Settings parse_upgrade_settings(std::string_view field);

/// Whether a server that speaks first may be speaking HTTP/2: it need not wait for the program's
/// preface to say its settings (RFC 9113 section 3.4), and gRPC's servers do not.
[[nodiscard]] bool begins_with_settings(std::string_view bytes);

/// Reads one direction of a connection.
class Http2Reader {
 public:
  /// Frames that have to be understood as a whole, and the fields of a block, in bytes.
  static constexpr std::size_t kFrameLimit = 256 << 10;
  static constexpr std::size_t kFieldsLimit = 256 << 10;
  /// Frames of one header block; more of them than bytes could fill are an attack (CVE-2024-27316
  /// and its kin).
  static constexpr int kBlockFrames = 1024;
  /// The largest table that an endpoint may ask of its peer's compressor, in bytes.
  static constexpr std::uint32_t kTableLimit = 1 << 20;
  /// Of streams and the connection, before anything else is said (RFC 9113 section 6.9.2).
  static constexpr std::uint32_t kInitialWindow = 65'535;
  /// SETTINGS that wait for their acknowledgement.
  static constexpr std::size_t kUnacknowledged = 1024;

  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void headers(std::uint32_t stream, Http2Head& head, bool last) = 0;
    /// Part of a body; `bytes` may be empty when it is the last.
    virtual void data(std::uint32_t stream, std::string_view bytes, bool last) = 0;
    virtual void reset(std::uint32_t stream, std::uint32_t code) = 0;
    /// A request that the server makes in the program's name.
    virtual void promise(std::uint32_t stream, std::uint32_t promised, Http2Head& head) = 0;
    virtual void goaway(std::uint32_t code) = 0;
    /// To be told to the other direction's reader.
    virtual void settings(const Http2Settings& settings) = 0;
  };

  /// The direction from the program (Side::request) begins with the preface (RFC 9113 section 3.4).
  explicit Http2Reader(Side side);
  ~Http2Reader();

  /// False: this is not HTTP/2, or more than we are prepared to hold; see error(). The reader is
  /// then of no further use.
  [[nodiscard]] bool feed(std::string_view bytes, Handler& handler);
  /// Where in the bytes of the last feed() the RST_STREAM frames with NO_ERROR begin that it has
  /// completed; 0 also when that was in the bytes before.
  [[nodiscard]] std::span<const std::size_t> quiet_resets() const { return quiet_resets_; }
  /// The other end has sent SETTINGS, which hold from their acknowledgement in this direction on.
  [[nodiscard]] bool settings_sent(const Http2Settings& settings);
  /// The other end's SETTINGS that hold at once: those of an upgrade, which the 101 acknowledges.
  [[nodiscard]] bool settings_agreed(const Http2Settings& settings);

  [[nodiscard]] const char* error() const { return error_; }
  /// Bytes of memory that it holds, roughly.
  [[nodiscard]] std::size_t held() const;

  // For those that change what passes from some frame on.

  /// Bytes that are left of the preface or frame that is being read; 0: none is. Empty: how many
  /// they are is not known yet, or other frames have to follow it (CONTINUATION).
  [[nodiscard]] std::optional<std::size_t> left_of_frame() const;
  /// Whether the first frame has begun, before which nothing else may be said in this direction.
  [[nodiscard]] bool has_begun() const { return begun_; }
  /// What the decompressor's table may occupy now, in bytes.
  [[nodiscard]] std::uint32_t table_limit() const;
  /// Flow control (RFC 9113 section 5.2), in bytes: what has been sent as DATA in this direction,
  /// and what this direction allows the other one to send beyond the initial window of the
  /// connection.
  [[nodiscard]] std::uint64_t data_sent() const { return data_sent_; }
  [[nodiscard]] std::uint64_t data_allowed() const { return data_allowed_; }
  /// The initial window of streams that DATA is sent on in this direction.
  [[nodiscard]] std::uint32_t initial_window() const { return initial_window_; }

 private:
  struct Frame {
    std::size_t length = 0;
    std::uint8_t type = 0;
    std::uint8_t flags = 0;
    std::uint32_t stream = 0;
  };
  struct FreeInflater {
    void operator()(nghttp2_hd_inflater* inflater) const;
  };
  enum class State : std::uint8_t { preface, header, collect, data, skip };

  bool fail(const char* why);
  void gather(std::string_view& bytes, std::size_t size);
  bool begin_frame(Handler& handler);
  bool begin_data(Handler& handler);
  bool pass_data(std::string_view& bytes, Handler& handler);
  bool whole_frame(std::string_view payload, Handler& handler);
  bool header_block(std::string_view payload, Handler& handler);
  bool settings(std::string_view payload, Handler& handler);
  bool within_limits(const Http2Settings& settings);
  bool fragment(std::string_view bytes, bool last, Handler& handler);
  bool field(std::string_view name, std::string_view value);
  bool pseudo_field(std::string_view name, std::string_view value);
  [[nodiscard]] bool is_understood() const;

  Side side_;
  State state_;
  std::string gathered_;  ///< of a preface, frame header or frame that has not come whole
  Frame frame_;
  bool begun_ = false;
  std::size_t frame_at_ =
      0;  ///< where it begins in the bytes of this feed(); 0: at their begin, or before
  std::size_t left_ = 0;     ///< of the frame's payload
  std::size_t padding_ = 0;  ///< at its end
  bool pad_length_due_ = false;
  std::vector<std::size_t> quiet_resets_;

  std::unique_ptr<nghttp2_hd_inflater, FreeInflater> inflater_;
  std::deque<Http2Settings> unacknowledged_;
  bool push_ = true;  ///< as the other end has it
  std::uint32_t initial_window_ = kInitialWindow;
  std::uint64_t data_sent_ = 0;
  std::uint64_t data_allowed_ = 0;
  Http2Head head_;
  bool in_block_ = false;
  std::uint16_t fields_ = 0;  ///< of the block so far
  std::uint32_t block_stream_ = 0;
  std::uint32_t promised_ = 0;
  bool block_ends_stream_ = false;
  int block_frames_ = 0;
  const char* error_ = nullptr;
};

}  // namespace mitm::http
