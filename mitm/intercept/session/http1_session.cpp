// What passes of an HTTP/1 connection: the readers say what the bytes are, and they are forwarded
// as they are in one write; a head is kept until it is whole and acceptable.
#include "mitm/intercept/session/http1_session.h"

#include "mitm/intercept/session/error_page.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
using flow::Direction;
using http::Http1Reader;
using Then = Pump::Then;

constexpr std::size_t kPipelined = 256;           ///< requests that may wait for their answers
constexpr std::size_t kPipelinedBytes = 1 << 20;  ///< of memory, that they may take
constexpr auto kLinger = std::chrono::seconds{2};

}  // namespace

Http1Session::Http1Session(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server,
                           std::string_view scheme)
    : recorder_(recorder),
      client_(client),
      server_(server),
      scheme_(scheme),
      held_(recorder.context().memory),
      pump_(client, server, recorder.context().scratch, recorder.context().memory, *this) {}

awaitable<Next> Http1Session::run() {
  co_await pump_.run();
  if (has_switched()) co_return std::move(next_);
  if (must_refuse()) co_await send_refusal();
  fail_all("the connection ended before the answer was complete");
  recorder_.data_end(Direction::request);
  recorder_.data_end(Direction::response);
  co_await pump_.deliver_end();
  co_return Next{};
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

bool Http1Session::is_on_hold(Direction direction) const {
  return (direction == Direction::request && on_hold()) || is_waiting(direction);
}

Pump::Taken Http1Session::on_bytes(Direction direction, std::span<char> bytes, Turn& turn) {
  const std::string_view input{bytes.data(), bytes.size()};
  const bool request = direction == Direction::request;
  // A program that was answered early is not waited for; only its end counts.
  if (request && answering_ == Answering::early) return {0, Then::drop};
  Pump::Taken taken = request ? consume_requests(input, turn) : consume_responses(bytes, turn);
  if (!taken.replaced) recorder_.data(direction, input.substr(0, taken.bytes));
  if (must_refuse() || has_switched() || pump_.has_stopped()) {
    taken.then = Then::stop;
  } else if (request && requests_over_) {
    taken.then = Then::done;  // refused, behind others that are yet to be answered
  } else if (request && responses_over_ && exchanges_.empty()) {
    taken.then = Then::stop;
  } else if (is_waiting(direction) || (request && on_hold())) {
    taken.then = Then::hold;
  } else if (!request && was_last_answer()) {
    taken.then = Then::finish;
  }
  return taken;
}

/// Whether nothing that the program could still use follows what the server has sent.
bool Http1Session::was_last_answer() const {
  if (answering_ == Answering::unasked) return true;
  return exchanges_.empty() && (requests_over_ || answering_ == Answering::early);
}

Pump::Ending Http1Session::on_end(Direction direction, IoResult end, std::string_view unread) {
  return direction == Direction::request ? client_ended(unread) : server_ended(end, unread);
}

void Http1Session::on_failure(Direction direction, std::string why) {
  const bool program = direction == Direction::request;
  const PeekBuffer& failed = program ? client_ : server_;
  if (program && requests_over_) why = kProgramLeft;
  if (exchanges_.empty() && failed.failure().tls_reason != 0) {
    auto flow =
        recorder_.begin_tcp(FlowRecorder::TcpKind::tls_error);  // else it would not be shown
    flow->error = why;
    recorder_.publish_end(std::move(flow), std::chrono::steady_clock::now());
  }
  fail_all(why);
}

awaitable<void> Http1Session::send_refusal() {
  Http1Exchange& front = exchanges_.front();
  const flow::HttpFlow& flow = front.exchange.flow();
  const std::string page = error_page(front.refusal, flow.error, flow.request.method != "HEAD");
  recorder_.data(Direction::response, page);
  front.exchange.answered_by_us(front.refusal);
  fail_all("the connection was ended because of an earlier message");
  server_.reset();
  const IoResult put = co_await write_all(client_, page);
  if (put.ok()) co_await finish(client_, recorder_.context().scratch, kLinger);
}

}  // namespace mitm::intercept
