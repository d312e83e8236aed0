// Questions go out at once, answers come back in any order and wake the connection that asked.
#include "divert/broker_link.h"

#include <cerrno>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>

namespace divert {
namespace {

namespace asio = boost::asio;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr auto kPatience = std::chrono::seconds{10};

}  // namespace

BrokerLink::BrokerLink(asio::io_context& context, MessageSocket socket)
    : socket_(std::move(socket)), ready_(context, ::fcntl(socket_.descriptor(), F_DUPFD_CLOEXEC, 0)) {}

asio::awaitable<std::optional<wire::Answer>> BrokerLink::ask(base::Endpoint peer, base::Endpoint local) {
  const wire::Question question{next_id_++, wire::pack(peer), wire::pack(local)};
  Waiting waiting{asio::steady_timer{ready_.get_executor(), kPatience}, std::nullopt};
  waiting_.emplace(question.id, &waiting);
  if (co_await put(question) && !closed_ && !waiting.answer) co_await waiting.timer.async_wait(kToken);
  waiting_.erase(question.id);
  co_return std::move(waiting.answer);
}

/// False when the broker has gone.
asio::awaitable<bool> BrokerLink::put(const wire::Question& question) {
  const std::string_view bytes{reinterpret_cast<const char*>(&question), sizeof question};
  while (const int error = closed_ ? EPIPE : socket_.send(bytes, MessageSocket::Wait::no)) {
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
  (void)socket_.send({reinterpret_cast<const char*>(&message), sizeof message}, MessageSocket::Wait::no);
}

asio::awaitable<void> BrokerLink::read(OnOrder on_order) {
  std::vector<char> buffer(wire::kMaxMessage);
  for (;;) {
    const ssize_t n = socket_.receive(buffer, MessageSocket::Wait::no);
    if (n > 0) {
      take({buffer.data(), static_cast<std::size_t>(n)}, on_order);
    } else if (n < 0 && errno == EAGAIN) {
      const auto [error] = co_await ready_.async_wait(asio::posix::stream_descriptor::wait_read, kToken);
      if (error) break;
    } else {
      break;
    }
  }
  closed_ = true;
  for (const auto& [id, waiting] : waiting_) waiting->timer.cancel();
}

void BrokerLink::take(std::string_view message, const OnOrder& on_order) {
  auto answer = wire::decode_answer(message);
  if (!answer) return;
  if (answer->kind != wire::Answer::Kind::answer) return on_order(std::move(*answer));
  const auto found = waiting_.find(answer->id);
  if (found == waiting_.end()) return;
  found->second->answer = std::move(answer);
  found->second->timer.cancel();
}

}  // namespace divert
