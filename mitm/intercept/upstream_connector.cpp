// Straight to the server, or through the user's proxy.
#include "mitm/intercept/upstream_connector.h"

#include <utility>

namespace mitm::intercept {

boost::asio::awaitable<UpstreamConnector::Result> UpstreamConnector::connect() {
  const auto& connection = recorder_.connection();
  const std::string host = recorder_.host();
  Transport::Socket server{client_.tcp.get_executor()};
  connecting_ = true;
  recorder_.set_connecting();
  DialFailure failure = co_await dialer_.dial(recorder_.context(), connection.verdict,
                                              connection.server, host, server, open_);
  if (!std::exchange(connecting_, false)) co_return Result{Outcome::interrupted, {}};
  if (!failure.why.empty()) co_return Result{Outcome::failed, std::move(failure.why)};
  server_.tcp.replace(std::move(server));
  recorder_.set_connected();
  co_return Result{};
}

}  // namespace mitm::intercept
