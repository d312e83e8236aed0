// Questions go out at once, answers come back in any order and wake the connection that asked.
#include "divert/link/broker_link.h"

#include <cerrno>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>

namespace divert {
namespace {

namespace asio = boost::asio;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr auto kAnswerTimeout = std::chrono::seconds{10};
constexpr std::size_t kKnownProcesses = 64;  ///< of a context's latest connections

template <class Message>
std::string bytes_of(const Message& message) {
  return {reinterpret_cast<const char*>(&message), sizeof message};
}

}  // namespace

BrokerLink::BrokerLink(asio::io_context& context, MessageSocket socket)
    : socket_(std::move(socket)),
      buffer_(wire::kMaxMessage),
      known_(kKnownProcesses),
      ready_(context, ::fcntl(socket_.descriptor(), F_DUPFD_CLOEXEC, 0)),
      told_(context, asio::steady_timer::time_point::max()) {}

asio::awaitable<std::optional<wire::Answer>> BrokerLink::ask(base::Endpoint peer,
                                                             base::Endpoint local) {
  const wire::Question question{next_id_++, wire::pack(peer), wire::pack(local)};
  Waiting waiting{asio::steady_timer{ready_.get_executor(), kAnswerTimeout}, std::nullopt};
  waiting_.emplace(question.id, &waiting);
  const bool sent = co_await put(bytes_of(question));
  if (sent && !closed_ && !waiting.answer) co_await waiting.timer.async_wait(kToken);
  waiting_.erase(question.id);
  co_return std::move(waiting.answer);
}

/// False when the broker has gone.
asio::awaitable<bool> BrokerLink::put(std::string message) {
  while (const int error = closed_ ? EPIPE : socket_.send(message, MessageSocket::Wait::no)) {
    if (error != EAGAIN) co_return false;
    co_await ready_.async_wait(asio::posix::stream_descriptor::wait_write, kToken);
  }
  while (!closed_ && socket_.pending()) {
    co_await ready_.async_wait(asio::posix::stream_descriptor::wait_write, kToken);
    socket_.flush();
  }
  co_return !closed_;
}

void BrokerLink::tell(const wire::Connected& message) {
  untold_.push_back(message);
  told_.cancel();
}

void BrokerLink::beat() {
  if (closed_) return;
  socket_.flush();
  if (!socket_.pending()) (void)socket_.send(bytes_of(wire::Alive{0}), MessageSocket::Wait::no);
}

asio::awaitable<void> BrokerLink::run(OnOrder on_order) {
  using namespace asio::experimental::awaitable_operators;
  on_order_ = std::move(on_order);
  co_await (read() && deliver());
}

asio::awaitable<void> BrokerLink::deliver() {
  while (!closed_) {
    if (untold_.empty()) {
      co_await told_.async_wait(kToken);
      continue;
    }
    std::string message = bytes_of(untold_.front());
    untold_.pop_front();
    co_await put(std::move(message));
  }
}

asio::awaitable<void> BrokerLink::read() {
  while (take_all()) {
    const auto [error] =
        co_await ready_.async_wait(asio::posix::stream_descriptor::wait_read, kToken);
    if (error) break;
  }
  closed_ = true;
  told_.cancel();
  for (const auto& [id, waiting] : waiting_) waiting->timer.cancel();
}

bool BrokerLink::take_all() {
  for (;;) {
    base::UniqueFd with;
    const ssize_t n = socket_.receive(buffer_, MessageSocket::Wait::no, &with);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    take({buffer_.data(), static_cast<std::size_t>(n)}, std::move(with));
  }
}

void BrokerLink::take(std::string_view message, base::UniqueFd with) {
  auto decoded = wire::decode(message, known_);
  if (!decoded) return;
  wire::connection_of(*decoded).socket = std::move(with);
  auto* const answer = std::get_if<wire::Answer>(&*decoded);
  if (answer == nullptr) return on_order_(std::move(*decoded));
  const auto found = waiting_.find(answer->id);
  if (found == waiting_.end()) return;
  found->second->answer = std::move(*answer);
  found->second->timer.cancel();
}

}  // namespace divert
