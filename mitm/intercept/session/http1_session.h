// HTTP/1 between two channels: bytes pass as they come, a flow is published per exchange.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <boost/asio/steady_timer.hpp>

#include "mitm/http/http1.h"
#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/session/exchange.h"
#include "mitm/intercept/wire/peek_buffer.h"
#include "mitm/intercept/wire/turn.h"

namespace mitm::intercept {

class Http1Session {
 public:
  enum class Outcome : std::uint8_t {
    done,       ///< both channels are finished with
    upgraded,   ///< another protocol follows (101)
    websocket,  ///< that is WebSocket: take_websocket()
    tunnel,     ///< the server has accepted a CONNECT
  };

  /// `scheme`: "http" or "https", for the URLs of flows.
  Http1Session(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server,
               std::string_view scheme);

  /// Bytes that belong to what follows an upgrade or a tunnel are pushed back into the channels.
  boost::asio::awaitable<Outcome> run();

  /// After `tunnel`: where to, as the program said it.
  [[nodiscard]] const std::string& tunnel_target() const { return tunnel_target_; }
  /// After `upgraded`: the request, when HTTP/2 follows (h2c); else null.
  [[nodiscard]] std::shared_ptr<flow::HttpFlow> take_upgraded_to_http2() {
    return std::move(upgraded_to_http2_);
  }

  /// A flow that is to go on.
  struct Begun {
    std::shared_ptr<flow::HttpFlow> flow;
    std::chrono::steady_clock::time_point began;
  };
  /// After `websocket`: its request and answer, of which a start has been published.
  [[nodiscard]] Begun take_websocket() { return std::move(websocket_); }

 private:
  struct Http1Exchange {
    Http1Exchange(FlowRecorder& recorder, HeldBytes& held, std::chrono::steady_clock::time_point at)
        : exchange(recorder, held, at) {}

    Exchange exchange;
    http::Answers answers = http::Answers::ordinary;
    bool upgrade = false;  ///< asked for
    bool goes_on = false;  ///< the program speaks on while it is answered, see take_further()
    int refusal = 0;       ///< status that we answer with ourselves
  };
  /// One direction, between two reads.
  struct Lane {
    PeekBuffer& from;
    PeekBuffer& to;
    flow::Direction direction;
    std::string held{};      ///< read and not yet forwarded
    bool reread = false;     ///< `held` has bytes that were left because another had to go first
    bool said_all = false;   ///< no more comes from this side, or nothing that is wanted
    bool pump_over = false;  ///< its coroutine has ended
    Turn turn{};
  };
  enum class Step : std::uint8_t { go_on, stop };
  enum class State : std::uint8_t {
    open,
    switched,  ///< another protocol follows on the connection
    stopped,   ///< both pumps end at their next wait
  };
  /// How the server answers.
  enum class Answering : std::uint8_t {
    in_order,
    early,    ///< it has answered a request that was not there yet: its last answer
    unasked,  ///< it has sent a response that no request asked for
  };

  boost::asio::awaitable<void> pump_requests();
  boost::asio::awaitable<void> pump_responses();
  boost::asio::awaitable<Step> forward(Lane& lane, std::string_view input, std::size_t size);
  boost::asio::awaitable<Step> pause(Lane& lane, IoResult got);
  boost::asio::awaitable<IoResult> await_turn();
  boost::asio::awaitable<void> wait_for_turn(IoResult read);
  boost::asio::awaitable<void> send_refusal();
  boost::asio::awaitable<void> wait_for_memory(const Lane& lane);

  [[nodiscard]] bool must_yield(Lane& lane, bool more) const;
  [[nodiscard]] std::string_view next_step(const Lane& lane, std::string_view input) const;
  void note_first_byte();
  [[nodiscard]] std::size_t consume_requests(std::string_view input);
  [[nodiscard]] std::size_t consume_responses(std::span<char> bytes);
  void begin_exchange(http::Head& head);
  void begin_response(http::Head& head, std::string_view bytes);
  [[nodiscard]] bool answer_lasts() const;
  void let_program_speak();
  void take_further(std::string_view bytes);
  [[nodiscard]] bool has_half_a_head() const;
  void answered_early();
  void response_unasked();
  void finish_request();
  void finish_response();
  void begin_upgraded(Http1Exchange& front);
  [[nodiscard]] std::shared_ptr<flow::HttpFlow> begin_on_http2(const flow::HttpFlow& asked) const;
  void finish_front();
  void begin_unread(std::string error);
  void refuse_request(const char* why, std::string_view bytes);
  void refuse_response(std::string why, std::string_view bytes);
  [[nodiscard]] static bool body_declined(const Exchange& exchange);
  void client_ended(IoResult end, bool unread);
  void server_ended(IoResult end, bool unread);
  void failed(const PeekBuffer& channel);
  void undelivered(const Lane& lane);
  void fail_all(const std::string& error);
  void stop();
  [[nodiscard]] bool on_hold() const;
  [[nodiscard]] bool awaits_switch() const;
  [[nodiscard]] std::chrono::steady_clock::time_point first_byte() const;
  void account();
  [[nodiscard]] bool must_refuse() const {
    return !exchanges_.empty() && exchanges_.front().refusal != 0;
  }

  FlowRecorder& recorder_;
  PeekBuffer& client_;
  PeekBuffer& server_;
  std::string_view scheme_;
  Lane asking_{client_, server_, flow::Direction::request};
  Lane answering_{server_, client_, flow::Direction::response};
  http::Http1Reader requests_{http::Side::request};
  http::Http1Reader responses_{http::Side::response};
  HeldBytes held_;                       ///< of exchanges_
  MemoryShare lanes_share_;              ///< of what the lanes hold
  std::deque<Http1Exchange> exchanges_;  ///< oldest first; responses belong to the front one
  boost::asio::steady_timer turn_;       ///< cancelled when requests may go on
  /// When the first byte of the request came whose head is not there yet; min(): none has come.
  std::chrono::steady_clock::time_point head_began_ = std::chrono::steady_clock::time_point::min();
  State state_ = State::open;
  Answering answering_how_ = Answering::in_order;
  Outcome outcome_ = Outcome::done;
  std::string tunnel_target_;
  std::shared_ptr<flow::HttpFlow> upgraded_to_http2_;
  Begun websocket_;
};

}  // namespace mitm::intercept
