// What is done with a stream whatever it is.
#include "mitm/intercept/wire/byte_stream.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
using Clock = std::chrono::steady_clock;
constexpr std::size_t kFinishBytes = 1 << 20;

}  // namespace

awaitable<IoResult> write_all(ByteStream& to, std::string_view bytes) {
  for (;;) {
    const IoResult put = to.try_write(bytes);
    if (!put.blocked()) co_return put;
    bytes.remove_prefix(put.bytes);
    const bool ready = co_await to.wait(put);
    if (!ready) co_return IoResult{IoResult::Status::failed};
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
