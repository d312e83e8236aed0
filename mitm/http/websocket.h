// WebSocket (RFC 6455, permessage-deflate of RFC 7692), looked at in passing: program and server
// talk to each other, we read along.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mitm/http/fields.h"
#include "mitm/http/http1_head.h"
#include "mitm/http/message.h"

namespace mitm::http {

/// How one direction compresses its messages.
struct PermessageDeflate {
  bool takeover = true;  ///< a message may refer to what the ones before it said
  int window_bits = 15;  ///< 8 to 15
  bool operator==(const PermessageDeflate&) const = default;
};

/// What both sides have agreed on, as the server's answer says it (Sec-WebSocket-Extensions).
struct WebSocketTerms {
  std::optional<PermessageDeflate> program;  ///< empty: no compression
  std::optional<PermessageDeflate> server;
  std::string
      unknown;  ///< an extension that we do not know: what it makes of the frames cannot be told
};
[[nodiscard]] WebSocketTerms websocket_terms(const Fields& response);

class WebSocketReader final : public MessageReader {
 public:
  /// One message may unfold to so much; beyond it nothing more is decompressed in this direction.
  static constexpr std::size_t kUnfolded = 64 << 20;
  /// Nor when its messages unfold to more than so many times their size, beyond the first kAtFirst
  /// bytes. (What people say to each other shrinks to a fifth; a thousandth is the most that the
  /// format can do.)
  static constexpr std::int64_t kRatio = 200;
  static constexpr std::int64_t kAtFirst = 16 << 20;

  /// `side`: request reads what the program sends. `limit` 0: nothing is decompressed at all.
  WebSocketReader(Side side, const std::optional<PermessageDeflate>& deflate, std::size_t limit);
  ~WebSocketReader() override;

  /// After an error of framing, bytes are ignored.
  void feed(std::string_view bytes, Handler& handler) override;
  void keep_nothing() override;
  [[nodiscard]] std::size_t held() const override;

 private:
  class Inflater;
  enum class Opcode : std::uint8_t {
    more = 0,
    text = 1,
    binary = 2,
    close = 8,
    ping = 9,
    pong = 10
  };
  static constexpr std::size_t kControl = 125;

  bool fail(const char* why);
  [[nodiscard]] std::size_t header_due() const;
  bool take_header(std::string_view& bytes);
  bool begin_frame(std::size_t header_size);
  const char* wrong_frame(unsigned first, bool masked) const;
  void begin_message();
  void take_payload(std::string_view part);
  void take_compressed(std::string_view part);
  void unmask(char* bytes, std::size_t size, std::uint64_t at) const;
  void inflate(std::string_view part);
  void end_frame(Handler& handler);
  void end_control(Handler& handler);
  [[nodiscard]] bool is_control() const { return static_cast<unsigned>(opcode_) >= 8; }

  Side side_;
  std::optional<PermessageDeflate> deflate_;
  std::unique_ptr<Inflater> inflater_;  ///< from the first compressed message on
  bool over_ = false;
  bool unfolds_;                    ///< messages are decompressed
  bool window_lost_ = false;        ///< what later messages may refer to was not decompressed
  std::int64_t credit_ = kAtFirst;  ///< bytes that may yet be unfolded; at most kUnfolded

  std::array<char, 14> header_{};
  std::size_t header_size_ = 0;  ///< of it, seen; while no payload is due
  bool in_payload_ = false;
  Opcode opcode_ = Opcode::more;
  bool last_ = false;
  std::array<char, 4> mask_{};
  std::uint64_t length_ = 0;  ///< of the frame's payload
  std::uint64_t left_ = 0;
  std::uint64_t frame_bytes_ = 0;  ///< with its header

  bool in_message_ = false;
  Message message_;
  std::string control_;
};

}  // namespace mitm::http
