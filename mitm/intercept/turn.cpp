// Posting puts the coroutine behind whatever is ready, the poll of the sockets included.
#include "mitm/intercept/turn.h"

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace mitm::intercept {

boost::asio::awaitable<void> Turn::yield_when_over() {
  if (!is_over()) co_return;
  co_await boost::asio::post(boost::asio::use_awaitable);
  restart();
}

}  // namespace mitm::intercept
