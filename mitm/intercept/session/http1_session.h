// HTTP/1 between two streams: bytes pass as they come, a flow is published per exchange.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "mitm/http/http1.h"
#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/session/editing.h"
#include "mitm/intercept/session/exchange.h"
#include "mitm/intercept/session/session.h"
#include "mitm/intercept/wire/pump.h"

namespace mitm::intercept {

class Http1Session final : public Session, private Pump::Handler {
 public:
  /// `scheme`: "http" or "https", for the URLs of flows.
  Http1Session(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server,
               std::string_view scheme);

  boost::asio::awaitable<Next> run() override;

 private:
  struct Http1Exchange {
    Http1Exchange(FlowRecorder& recorder, HeldBytes& held, std::chrono::steady_clock::time_point at)
        : exchange(recorder, held, at) {}

    Exchange exchange;
    http::Answers answers = http::Answers::ordinary;
    bool upgrade = false;  ///< asked for
    bool goes_on = false;  ///< the program speaks on while it is answered, see take_further()
    int refusal = 0;       ///< status that we answer with ourselves
    std::shared_ptr<Editing> editing{};  ///< null: no gate wants it
    bool continued = false;              ///< we have said 100 to the program
    bool answered = false;               ///< by a gate; the answer waits until it is its turn
  };
  /// How the server answers.
  enum class Answering : std::uint8_t {
    in_order,
    early,    ///< it has answered a request that was not there yet: its last answer
    unasked,  ///< it has sent a response that no request asked for
  };

  Pump::Taken on_bytes(flow::Direction direction, std::span<char> bytes, Turn& turn) override;
  [[nodiscard]] bool is_on_hold(flow::Direction direction) const override;
  [[nodiscard]] bool holds_end(flow::Direction direction) const override {
    return is_waiting(direction);
  }
  [[nodiscard]] std::string say(flow::Direction direction) override;
  [[nodiscard]] bool speaks_on(flow::Direction direction) const override;
  Pump::Ending on_end(flow::Direction direction, IoResult end, std::string_view unread) override;
  void on_failure(flow::Direction direction, std::string why) override;
  boost::asio::awaitable<void> send_refusal();

  [[nodiscard]] std::string_view next_step(flow::Direction direction, std::string_view input) const;
  void note_first_byte();
  [[nodiscard]] Pump::Taken consume_requests(std::string_view input, Turn& turn);
  [[nodiscard]] Pump::Taken consume_responses(std::span<char> bytes, Turn& turn);
  [[nodiscard]] bool is_apart(flow::Direction direction) const;
  [[nodiscard]] bool is_waiting(flow::Direction direction) const;
  [[nodiscard]] bool is_withheld() const;
  [[nodiscard]] Http1Exchange* current(flow::Direction direction);
  [[nodiscard]] const Http1Exchange* current(flow::Direction direction) const;
  void edit_head(flow::Direction direction, std::string_view raw);
  void edit_bytes(flow::Direction direction, std::string_view raw, std::string_view body);
  void edit_end(flow::Direction direction);
  void withdraw_last();
  void cut_response(Http1Exchange& front);
  void ask(Http1Exchange& asked, Stage stage);
  void resumed(Http1Exchange& asked, Stage stage, Decision decision);
  void act(Http1Exchange& asked, Stage stage, Decision decision);
  void pass_on(Http1Exchange& asked, Stage stage);
  void answer_front();
  void end_by_gate(Http1Exchange& asked);
  void begin_exchange(http::Head& head);
  void begin_response(http::Head& head, std::string_view bytes);
  [[nodiscard]] bool answer_lasts() const;
  void take_further(std::string_view bytes);
  [[nodiscard]] bool has_half_a_head(std::string_view unread) const;
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
  Pump::Ending client_ended(std::string_view unread);
  Pump::Ending server_ended(IoResult end, std::string_view unread);
  void fail_all(const std::string& error);
  [[nodiscard]] bool has_switched() const { return next_.kind != Next::Kind::end; }
  [[nodiscard]] bool on_hold() const;
  [[nodiscard]] bool was_last_answer() const;
  [[nodiscard]] bool awaits_switch() const;
  [[nodiscard]] std::chrono::steady_clock::time_point first_byte() const;
  [[nodiscard]] bool must_refuse() const {
    return !exchanges_.empty() && exchanges_.front().refusal != 0;
  }

  FlowRecorder& recorder_;
  PeekBuffer& client_;
  PeekBuffer& server_;
  std::string_view scheme_;
  http::Http1Reader requests_{http::Side::request};
  http::Http1Reader responses_{http::Side::response};
  HeldBytes held_;                       ///< of exchanges_
  std::deque<Http1Exchange> exchanges_;  ///< oldest first; responses belong to the front one
  Pump pump_;
  std::string said_[2];          ///< what say() says next, by Direction
  bool requests_over_ = false;   ///< no more come from the program, or none that are wanted
  bool responses_over_ = false;  ///< no more come from the server
  /// When the first byte of the request came whose head is not there yet.
  std::optional<std::chrono::steady_clock::time_point> head_began_;
  Answering answering_ = Answering::in_order;
  Next next_;  ///< set when another protocol follows
};

}  // namespace mitm::intercept
