// What is done with a stream whatever it is.
#include "mitm/intercept/wire/byte_stream.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "divert/worker/send_queue.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
using Clock = std::chrono::steady_clock;
constexpr std::size_t kFinishBytes = 1 << 20;

/// Until `to` has room. False: it has had none for too long since `from` was reset, or the wait was
/// cancelled.
awaitable<bool> wait_for_room(ByteStream& to, ByteStream& from) {
  using namespace boost::asio::experimental::awaitable_operators;
  const IoResult blocked{IoResult::Status::want_write};
  if (!from.failure().lost) {
    const auto first = co_await (to.wait(blocked) || from.wait_until_failed());
    if (first.index() == 0) co_return std::get<0>(first);
  }
  const auto limit =
      from.failure().lost ? Clock::now() + divert::kDeliveryTimeout : ByteStream::kNoLimit;
  const bool ready = co_await to.wait(blocked, limit);
  co_return ready;
}

}  // namespace

awaitable<IoResult> write_all(ByteStream& to, std::string_view bytes, ByteStream* from) {
  for (;;) {
    const IoResult put = to.try_write(bytes);
    if (!put.blocked()) co_return put;
    bytes.remove_prefix(put.bytes);
    bool goes_on = false;
    if (put.status == IoResult::Status::want_write && from != nullptr) {
      goes_on = co_await wait_for_room(to, *from);
    } else {
      goes_on = co_await to.wait(put);
    }
    if (!goes_on) co_return IoResult{IoResult::Status::failed};
  }
}

awaitable<void> finish(ByteStream& stream, std::span<char> scratch, Clock::duration limit) {
  const auto deadline = Clock::now() + limit;
  stream.shutdown_write(true);
  for (std::size_t total = 0; total < kFinishBytes;) {
    const IoResult got = stream.try_read(scratch);
    if (!got.ok() && !got.blocked()) co_return;
    total += got.bytes;
    if (got.ok() && !got.drained) continue;
    const bool ready = co_await stream.wait(got, deadline);
    if (!ready) co_return;
  }
}

}  // namespace mitm::intercept
