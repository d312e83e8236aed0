#include "mitm/intercept/wire/renewal.h"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

/// The broker makes no more than that.
constexpr auto kAskEvery = std::chrono::seconds{10};
constexpr auto kPoll = std::chrono::milliseconds{10};
/// What a program that begins a handshake now needs at least.
constexpr auto kLeast = std::chrono::minutes{1};

}  // namespace

asio::awaitable<std::string> Renewal::before_leaf(const tls::LeafCache& leaves) {
  if (!ask_ || !leaves.expires_within(tls::kRenewBefore)) co_return std::string{};
  const auto begun = Clock::now();
  if (begun >= next_) {
    next_ = begun + kAskEvery;
    ask_();
  }
  asio::steady_timer timer{co_await asio::this_coro::executor};
  while (leaves.expires_within(kLeast)) {
    if (Clock::now() - begun >= patience_) {
      co_return std::string{
          "osproxy's intermediate certificate has expired and the broker has sent no other one"};
    }
    timer.expires_after(kPoll);
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_return std::string{};
}

}  // namespace mitm::intercept
