// HTTP/2 between two streams: bytes pass as they come (but for alt-svc, unless the settings let it
// be) until a gate wants to see messages; a flow is published per stream.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "mitm/http/http2.h"
#include "mitm/http/http2_alt_svc.h"
#include "mitm/intercept/session/exchange.h"
#include "mitm/intercept/session/http2_editing.h"
#include "mitm/intercept/session/pass_through.h"
#include "mitm/intercept/session/session.h"

namespace mitm::intercept {

class Http2Session final : public Session,
                           private PassThrough::Observer,
                           private Http2Editing::Owner {
 public:
  /// Streams that may be open at once; servers usually allow 100 to 250.
  static constexpr std::size_t kStreams = 4096;
  /// Bytes that the heads and trailers of open streams may take.
  static constexpr std::size_t kHeldLimit = 16 << 20;

  Http2Session(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server);

  /// The request that has been upgraded is stream 1, of which the program has said all (h2c, RFC
  /// 7540 section 3.2).
  void adopt(std::shared_ptr<flow::HttpFlow> request);

  boost::asio::awaitable<Next> run() override;

 private:
  struct Stream {
    template <class... Arguments>
    explicit Stream(Arguments&&... arguments) : exchange(std::forward<Arguments>(arguments)...) {}

    Exchange exchange;
    bool websocket = false;  ///< asked for (RFC 8441)
    bool is_over = false;    ///< but for a gate's decision about the answer
  };
  using Streams = std::unordered_map<std::uint32_t, Stream>;

  /// Tells the session what a reader reads, and of which side.
  class Listener final : public http::Http2Reader::Handler {
   public:
    Listener(Http2Session& session, flow::Direction direction)
        : session_(session), direction_(direction) {}
    void headers(std::uint32_t stream, http::Http2Head& head, bool last) override;
    void data(std::uint32_t stream, std::string_view bytes, bool last) override;
    void reset(std::uint32_t stream, std::uint32_t code) override;
    void promise(std::uint32_t stream, std::uint32_t promised, http::Http2Head& head) override;
    void goaway(std::uint32_t code) override;
    void settings(const http::Http2Settings& settings) override;

   private:
    [[nodiscard]] bool request() const { return direction_ == flow::Direction::request; }
    [[nodiscard]] std::uint32_t by_program(std::uint32_t stream) const;
    Http2Session& session_;
    flow::Direction direction_;
  };

  bool on_bytes(flow::Direction direction, std::string_view bytes) override;
  [[nodiscard]] std::span<const std::size_t> write_boundaries(
      flow::Direction direction) const override;
  void rewrite(flow::Direction direction, std::span<char> bytes) override;
  [[nodiscard]] bool replaces(flow::Direction direction) override;
  [[nodiscard]] std::string say(flow::Direction direction) override;
  [[nodiscard]] bool is_on_hold(flow::Direction direction) const override;
  [[nodiscard]] bool speaks_on(flow::Direction direction) const override;
  void ended(flow::Direction direction) override;
  void failed(std::string why) override;
  bool read(flow::Direction direction, std::string_view bytes) override;
  [[nodiscard]] Exchange* exchange(std::uint32_t stream) override;
  void decided(std::uint32_t stream, std::shared_ptr<const flow::Edits> edits) override;
  void end(std::uint32_t stream, std::string why) override;
  void speak() override;
  [[nodiscard]] std::string why_incomplete() const;

  Stream* find(std::uint32_t stream);
  [[nodiscard]] bool opens(flow::Direction side, std::uint32_t stream);
  void begin(std::uint32_t stream, http::Http2Head& head);
  void response(Stream& stream, http::Http2Head& head);
  void trailers(Exchange& exchange, flow::Direction direction, http::Fields& fields, bool last);
  void check_held();
  void account_readers();
  void half_done(std::uint32_t stream, flow::Direction direction);
  void finish(Streams::iterator at, std::string error);
  void finish_all(const std::string& error);
  void malformed(flow::Direction direction, const char* why);

  FlowRecorder& recorder_;
  PassThrough pass_through_;
  http::Http2Reader requests_{http::Side::request};
  http::Http2Reader responses_{http::Side::response};
  http::Http2AltSvc alt_svc_;
  Listener program_{*this, flow::Direction::request};
  Listener server_{*this, flow::Direction::response};
  HeldBytes held_;  ///< of streams_; its heads: see kHeldLimit
  Streams streams_;
  MemoryShare readers_share_;
  /// Of the streams that the server has opened, and the program.
  std::uint32_t newest_[2] = {0, 0};
  std::unique_ptr<Http2Editing> editing_;     ///< null: bytes pass as they come
  std::optional<flow::Direction> first_end_;  ///< what follows it, failures too, is its consequence
  std::string goaway_;  ///< why a side wants no more streams; empty: it has not said so
  /// Of the side whose bytes are being read.
  const char* protocol_error_ = nullptr;
};

}  // namespace mitm::intercept
