// Both sides are waited for at once: which of them speaks first decides what the connection may be.
#include "mitm/intercept/sniffer.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "mitm/http/http2.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Clock = std::chrono::steady_clock;
using sniff::Protocol;
using sniff::SniffResult;

/// How long a server that is yet to be connected waits for the program to speak first.
constexpr auto kSilence = std::chrono::milliseconds{500};
constexpr int kMaxHeaders = 4;  ///< PROXY protocol headers, one proxy behind another

bool is_decided(const SniffResult& sniffed) {
  return sniffed.protocol == Protocol::raw ||
         (sniffed.complete && sniffed.protocol != Protocol::undecided);
}

bool is_over(const IoResult& result) {
  return result.ended() || result.status == IoResult::Status::failed;
}

}  // namespace

/// A look at the server, which has yet to be spoken to.
Sniffer::ServerSays Sniffer::look_at_server(bool leave) {
  const auto look = server_.look(recorder_.context().scratch.first(sniff::kMaxSniffedBytes), leave);
  const bool silent = look.bytes.empty() && (look.result.ok() || look.result.blocked());
  if (silent) return ServerSays::nothing;
  return http::begins_with_settings(look.bytes) ? ServerSays::http2_settings
                                                : ServerSays::something;
}

awaitable<SniffResult> Sniffer::sniff(bool leave) {
  const std::span<char> scratch = recorder_.context().scratch.first(sniff::kMaxSniffedBytes);
  SniffResult sniffed;
  std::size_t seen = 0;
  bool ended = false;
  const bool alone = !server_.tcp.is_open();
  const Patience& patience = recorder_.context().settings.patience;
  Clock::time_point began;
  auto limit = alone ? Clock::now() + kSilence : Clock::time_point::max();
  for (;;) {
    const auto client = client_.look(scratch, leave);
    if (client.bytes.size() > seen) {
      sniffed = sniff::inspect(client.bytes);
      if (is_decided(sniffed)) break;
      if (seen == 0) began = Clock::now();
      limit = began + (sniffed.doubtful ? patience.doubtful : patience.begun);
      seen = client.bytes.size();
    }
    const ServerSays server = alone ? ServerSays::nothing : look_at_server(leave);
    const bool patient = server == ServerSays::http2_settings;
    if (patient && limit == Clock::time_point::max()) limit = Clock::now() + patience.begun;
    const bool over = is_over(client.result) || ended || Clock::now() >= limit;
    if (server == ServerSays::something || over) break;
    ended = leave && client_.tcp.has_end();
    if (ended) continue;  // what came with the end is looked at as well
    if (leave && !client_.stream.has_unread()) client_.tcp.set_low_watermark(seen + 1);
    if (alone || patient) {
      co_await client_.stream.wait(client.result, limit);
    } else {
      co_await wait_for_either(limit);
    }
  }
  if (leave && seen > 0) client_.tcp.set_low_watermark(1);
  if (!sniffed.complete && sniffed.protocol != Protocol::http1) sniffed.protocol = Protocol::raw;
  co_return sniffed;
}

awaitable<void> Sniffer::wait_for_either(Clock::time_point limit) {
  const auto executor = client_.tcp.get_executor();
  const IoResult readable{IoResult::Status::want_read};
  co_await asio::experimental::make_parallel_group(
      asio::co_spawn(executor, client_.tcp.wait(readable, limit), asio::deferred),
      asio::co_spawn(executor, server_.tcp.wait(readable), asio::deferred))
      .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
}

awaitable<SniffResult> Sniffer::sniff_behind_headers() {
  SniffResult sniffed = co_await sniff(true);
  for (int header = 0; sniffed.protocol == Protocol::proxied && header < kMaxHeaders; ++header) {
    const bool taken = co_await take_header(sniffed.proxy_header);
    if (!taken) break;
    sniffed = co_await sniff(true);
  }
  co_return sniffed;
}

/// The server may have to hear it before anything else happens.
awaitable<bool> Sniffer::take_header(std::size_t size) {
  const std::size_t end = headers_.size() + size;
  while (headers_.size() < end) {
    const auto scratch = recorder_.context().scratch.first(end - headers_.size());
    const IoResult got = client_.stream.try_read(scratch);
    if (!got.ok() || got.bytes == 0) co_return false;
    headers_.append(scratch.data(), got.bytes);
  }
  recorder_.set_bytes_before(headers_.size());
  if (!server_.tcp.is_open()) co_return true;
  const std::string_view header = std::string_view(headers_).substr(end - size);
  const IoResult put = co_await write_all(server_.stream, header);
  co_return put.ok();
}

/// To a server that is connected only now.
awaitable<void> Sniffer::pass_headers_on() {
  if (!headers_.empty())
    co_await write_all(server_.stream, headers_);  // a failure shows in what follows
}

std::string Sniffer::described_headers() const {
  constexpr std::string_view kText = "PROXY ";
  const std::string_view headers = headers_;
  if (!headers.starts_with(kText)) return {};
  return ": " + std::string(headers.substr(kText.size(), headers.find('\r') - kText.size()));
}

void Sniffer::show_headers() {
  recorder_.data(flow::Direction::request, std::string_view(headers_).substr(headers_shown_));
  headers_shown_ = headers_.size();
}

}  // namespace mitm::intercept
