// Questions go out at once, answers come back in any order and wake the connection that asked.
#include "divert/broker_link.h"

#include <cerrno>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <sys/socket.h>

namespace divert {
namespace {

namespace asio = boost::asio;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr auto kPatience = std::chrono::seconds{10};

}  // namespace

BrokerLink::BrokerLink(asio::io_context& context, base::UniqueFd socket)
    : socket_(context, socket.release()) {
  socket_.non_blocking(true);
}

asio::awaitable<std::optional<wire::Answer>> BrokerLink::ask(base::Endpoint peer, base::Endpoint local) {
  const wire::Question question{next_id_++, wire::pack(peer), wire::pack(local)};
  while (!closed_ && ::send(socket_.native_handle(), &question, sizeof question, MSG_NOSIGNAL) < 0) {
    if (errno != EAGAIN && errno != EINTR) co_return std::nullopt;
    co_await socket_.async_wait(asio::posix::stream_descriptor::wait_write, kToken);
  }
  if (closed_) co_return std::nullopt;
  Waiting waiting{asio::steady_timer{socket_.get_executor(), kPatience}, std::nullopt};
  waiting_.emplace(question.id, &waiting);
  co_await waiting.timer.async_wait(kToken);
  waiting_.erase(question.id);
  co_return std::move(waiting.answer);
}

void BrokerLink::tell(const wire::Connected& message) {
  (void)!::send(socket_.native_handle(), &message, sizeof message, MSG_NOSIGNAL);
}

asio::awaitable<void> BrokerLink::read(OnOrder on_order) {
  std::vector<char> buffer(wire::kMaxMessage);
  for (;;) {
    const ssize_t n = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), 0);
    if (n > 0) {
      take({buffer.data(), static_cast<std::size_t>(n)}, on_order);
    } else if (n < 0 && errno == EAGAIN) {
      const auto [error] = co_await socket_.async_wait(asio::posix::stream_descriptor::wait_read, kToken);
      if (error) break;
    } else if (n == 0 || errno != EINTR) {
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
