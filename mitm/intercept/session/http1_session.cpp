// The pumps of an HTTP/1 connection. Each reads into the shared scratch buffer, lets the reader
// tell what the bytes are, and forwards them as they are in one write; a head is held until it is
// whole and acceptable.
#include "mitm/intercept/session/http1_session.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "mitm/intercept/session/error_page.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Clock = std::chrono::steady_clock;
using http::Http1Reader;
using Status = IoResult::Status;

constexpr std::size_t kPipelined = 256;           ///< requests that may wait for their answers
constexpr std::size_t kPipelinedBytes = 1 << 20;  ///< of memory, that they may take
constexpr std::size_t kLittle = 16 << 10;         ///< of a head in pieces, while memory is used up
constexpr auto kMemoryCheck = std::chrono::milliseconds{50};
constexpr auto kMemoryPatience = std::chrono::seconds{5};
constexpr auto kLinger = std::chrono::seconds{2};
constexpr std::size_t kHeld = 64 << 10;  ///< read of a program whose requests are on hold

/// Says when a pump ends.
class Ending {
 public:
  explicit Ending(bool& over) : over_(over) {}
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;
  ~Ending() { over_ = true; }

 private:
  bool& over_;
};

}  // namespace

Http1Session::Http1Session(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server,
                           std::string_view scheme)
    : recorder_(recorder),
      client_(client),
      server_(server),
      scheme_(scheme),
      held_(recorder.context().memory),
      lanes_share_(recorder.context().memory),
      turn_(client.get_executor(), Clock::time_point::max()) {}

awaitable<Http1Session::Outcome> Http1Session::run() {
  using namespace asio::experimental::awaitable_operators;
  co_await (pump_requests() && pump_responses());
  if (state_ == State::switched) co_return outcome_;
  fail_all("the connection ended before the answer was complete");
  recorder_.data_end(flow::Direction::request);
  recorder_.data_end(flow::Direction::response);
  // Closed as it is, the end would be lost to a slow program that writes meanwhile.
  if (server_.failure().lost || client_.has_unsent()) co_await client_.wait_until_acknowledged();
  if (server_.failure().lost) client_.reset();
  co_return Outcome::done;
}

/// A request whose answer is yet to come may be followed by others, as long as there is room for
/// them.
bool Http1Session::on_hold() const {
  if (answer_lasts()) return false;
  if (awaits_switch() || exchanges_.size() >= kPipelined) return true;
  const bool answer_due = !exchanges_.empty() && requests_.between_messages();
  return answer_due &&
         (held_.all() >= kPipelinedBytes || recorder_.context().memory.is_exhausted());
}

/// For the rest of a head: it goes on after a while in any case, or those that all hold half a head
/// would wait for each other.
awaitable<void> Http1Session::wait_for_memory(const Lane& lane) {
  const auto& memory = recorder_.context().memory;
  const auto limit = Clock::now() + kMemoryPatience;
  asio::steady_timer timer{client_.get_executor()};
  while (memory.is_exhausted() && lane.held.size() >= kLittle && state_ == State::open &&
         Clock::now() < limit) {
    timer.expires_after(kMemoryCheck);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

/// Ends both pumps at their next wait.
void Http1Session::stop() {
  if (state_ == State::open) state_ = State::stopped;
  client_.cancel();
  server_.cancel();
  turn_.cancel();
}

/// While requests are on hold the program is listened to all the same: it may leave. What it says
/// is kept. Returns its end or failure, if that is why the wait is over.
awaitable<IoResult> Http1Session::await_turn() {
  std::string& held = asking_.held;
  while (on_hold() && state_ == State::open) {
    const std::size_t most = readable(recorder_.context().memory, kHeld);
    const std::span<char> scratch =
        recorder_.context().scratch.first(most - std::min(most, held.size()));
    IoResult got{Status::end, 0};  // for us: so much is enough
    if (!scratch.empty()) got = client_.try_read(scratch);
    if (got.status == Status::failed || (got.ended() && held.empty())) co_return got;
    held.append(scratch.data(), got.bytes);
    account();
    if (!got.ok() || got.drained) co_await wait_for_turn(got);
  }
  co_return IoResult{};
}

/// Or, if `read` was no end, for more to read.
awaitable<void> Http1Session::wait_for_turn(IoResult read) {
  using namespace asio::experimental::awaitable_operators;
  if (read.ended()) {
    co_await turn_.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return;
  }
  co_await (client_.wait(read) || turn_.async_wait(asio::as_tuple(asio::use_awaitable)));
}

// Both directions.

/// Writes the first `size` bytes of `input` (lane.held or the scratch buffer) and keeps the rest.
awaitable<Http1Session::Step> Http1Session::forward(Lane& lane, std::string_view input,
                                                    std::size_t size) {
  recorder_.data(lane.direction, input.substr(0, size));
  IoResult put = lane.to.try_write(input.substr(0, size));
  if (put.blocked()) {
    if (input.data() != lane.held.data()) lane.held.assign(input);
    input = lane.held;
    account();
    put = co_await write_all(lane.to, input.substr(put.bytes, size - put.bytes), &lane.from);
  }
  if (!put.ok()) {
    if (state_ != State::stopped) undelivered(lane);
    co_return Step::stop;
  }
  if (size == input.size()) {
    lane.held.clear();
    lane.held.shrink_to_fit();
  } else if (input.data() == lane.held.data()) {
    lane.held.erase(0, size);
  } else {
    lane.held.assign(input.substr(size));
  }
  account();
  co_return Step::go_on;
}

/// Until reading makes sense again.
awaitable<Http1Session::Step> Http1Session::pause(Lane& lane, IoResult got) {
  if (lane.reread || (got.ok() && !got.drained)) {
    co_await lane.turn.yield_when_over();
  } else {
    co_await lane.from.wait(got);  // cancelled: there is something to answer, or an end
    lane.turn.restart();
  }
  co_return state_ == State::stopped ? Step::stop : Step::go_on;
}

/// The receiver takes no more. What it had said before is passed on first, by the other pump, which
/// then meets the failure.
void Http1Session::undelivered(const Lane& lane) {
  const Lane& other = &lane == &asking_ ? answering_ : asking_;
  if (!lane.to.failure().lost) return failed(lane.from);
  if (other.pump_over) return failed(lane.to);
  lane.to.cancel();
  turn_.cancel();
}

/// All that came from `channel` has been passed on. A program that is alive has yet to get the end
/// of it.
void Http1Session::failed(const PeekBuffer& channel) {
  std::string why =
      fmt::format("{}: {}", &channel == &client_ ? "the program" : "the server",
                  channel.failure().text.empty() ? "connection lost" : channel.failure().text);
  if (asking_.said_all && &channel == &client_) why = kProgramLeft;
  if (exchanges_.empty() && channel.failure().tls_reason != 0) {
    auto flow =
        recorder_.begin_tcp(FlowRecorder::TcpKind::tls_error);  // else it would not be shown
    flow->error = why;
    recorder_.publish_end(std::move(flow), Clock::now());
  }
  fail_all(why);
  if (&channel == &client_) client_.reset();
  server_.reset();
  stop();
}

// Requests.

awaitable<void> Http1Session::pump_requests() {
  Lane& lane = asking_;
  const Ending ending{lane.pump_over};
  while (state_ != State::stopped) {
    IoResult got;
    std::string_view input = lane.held;
    if (!std::exchange(lane.reread, false)) {
      if (lane.held.size() >= kLittle) co_await wait_for_memory(lane);
      if (state_ == State::stopped) co_return;  // somebody else may be reading the rest
      const std::span<char> scratch = recorder_.scratch();
      got = client_.try_read(scratch);
      if (got.ended() && answering_how_ != Answering::early && has_half_a_head()) {
        if (answer_lasts()) {
          take_further(lane.held);
        } else {
          begin_unread("the program closed the connection in the middle of its request");
        }
        if (co_await forward(lane, lane.held, lane.held.size()) == Step::stop) co_return;
      }
      if (got.ended()) client_ended(got, !lane.held.empty());
      if (got.status == Status::failed) failed(client_);
      if (!got.ok() && !got.blocked()) co_return;
      input = {scratch.data(), got.bytes};
      if (!lane.held.empty()) input = lane.held.append(input);
    }
    if (answering_how_ == Answering::early) {
      lane.held.clear();  // not waited for; only the program's end counts
    } else if (!input.empty()) {
      const std::size_t size = consume_requests(input);
      if (co_await forward(lane, input, size) == Step::stop) co_return;
    }
    if (asking_.said_all) co_return;  // refused
    if (answering_.said_all && exchanges_.empty()) stop();
    if (on_hold() || state_ == State::switched) {
      const IoResult last = co_await await_turn();
      if (last.ended()) client_ended(last, false);
      if (last.status == Status::failed) failed(client_);
      if (state_ == State::switched) client_.push_back(lane.held);
      if (state_ != State::open || !last.ok()) co_return;
      lane.reread = !lane.held.empty();
      if (lane.reread) continue;
    }
    if (co_await pause(lane, got) == Step::stop) co_return;
  }
}

// Responses.

awaitable<void> Http1Session::pump_responses() {
  Lane& lane = answering_;
  const Ending ending{lane.pump_over};
  while (state_ != State::stopped) {
    if (must_refuse()) {
      co_await send_refusal();
      co_return;
    }
    const bool again = std::exchange(lane.reread, false);
    IoResult got;
    if (!again && lane.held.size() >= kLittle) co_await wait_for_memory(lane);
    if (state_ == State::stopped) co_return;
    const std::span<char> scratch = recorder_.scratch();
    if (!again) got = server_.try_read(scratch);
    if (got.ended()) {
      server_ended(got, !lane.held.empty());
      if (!must_refuse()) co_return;
      continue;
    }
    if (got.status == Status::failed) {
      failed(server_);
      co_return;
    }
    if (got.ok()) {
      std::span<char> input = scratch.first(got.bytes);
      if (!lane.held.empty()) input = lane.held.append(input.data(), input.size());
      const std::size_t size = consume_responses(input);
      const std::string_view consumed{input.data(), input.size()};
      if (co_await forward(lane, consumed, size) == Step::stop) co_return;
      if (state_ == State::switched) {
        server_.push_back(lane.held);
        turn_.cancel();
        co_return;
      }
      const bool last_answer = asking_.said_all || answering_how_ == Answering::early;
      if (answering_how_ == Answering::unasked || (last_answer && exchanges_.empty())) {
        client_.shutdown_write(true);
        stop();
      }
      if (must_refuse() || state_ == State::stopped) continue;
    }
    if (co_await pause(lane, got) == Step::stop) co_return;
  }
}

awaitable<void> Http1Session::send_refusal() {
  Http1Exchange& front = exchanges_.front();
  const flow::HttpFlow& flow = front.exchange.flow();
  const std::string page = error_page(front.refusal, flow.error, flow.request.method != "HEAD");
  recorder_.data(flow::Direction::response, page);
  front.exchange.answered_by_us(front.refusal);
  fail_all("the connection was ended because of an earlier message");
  server_.reset();
  asking_.said_all = true;
  client_.cancel();
  turn_.cancel();
  state_ = State::stopped;
  const IoResult put = co_await write_all(client_, page);
  if (put.ok()) co_await finish(client_, recorder_.context().scratch, kLinger);
}

}  // namespace mitm::intercept
