// Posting puts the coroutine behind whatever is ready, the poll of the sockets included.
#include "mitm/intercept/wire/turn.h"

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "divert/link/context_heartbeat.h"

namespace mitm::intercept {

boost::asio::awaitable<void> Turn::yield_when_over() {
  if (!is_over()) co_return;
  const auto executor = co_await boost::asio::this_coro::executor;
  divert::heartbeat_of(boost::asio::query(executor, boost::asio::execution::context))
      .beat_when_due();
  co_await boost::asio::post(boost::asio::use_awaitable);
  restart();
}

}  // namespace mitm::intercept
