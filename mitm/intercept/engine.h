// Interception of one connection: TLS on both sides, HTTP or raw inside, flows out.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/error.h"
#include "divert/worker/connection.h"
#include "mitm/flow/bus.h"
#include "mitm/intercept/context/context.h"
#include "mitm/intercept/context/gate.h"
#include "mitm/intercept/wire/transport.h"
#include "mitm/tls/leaf.h"

namespace mitm::intercept {

/// One per io_context. Holds that context's leaf cache, upstream sessions and scratch buffers.
class Engine final : public divert::Interceptor, public divert::Watcher {
 public:
  /// `bus` and `gate` must outlive it.
  [[nodiscard]] static base::Result<std::unique_ptr<Engine>> make(
      Settings settings, std::shared_ptr<const divert::Policy> policy,
      std::shared_ptr<const tls::LeafSigner> signer, flow::Bus& bus, Gate& gate = Gate::none());
  ~Engine() override;

  boost::asio::awaitable<void> intercept(divert::Connection connection,
                                         boost::asio::ip::tcp::socket client,
                                         boost::asio::ip::tcp::socket server,
                                         divert::OpenStraight open) override;
  /// The same between two transports, which must live until it has returned.
  boost::asio::awaitable<void> intercept(divert::Connection connection, Transport& client,
                                         Transport& server, divert::OpenStraight open);
  [[nodiscard]] divert::Way way(const divert::Verdict& verdict) const override;
  boost::asio::awaitable<boost::system::error_code> dial(
      divert::Connection connection, boost::asio::ip::tcp::socket& server) override;
  void end_all() override;
  void unreachable(const divert::Connection& connection,
                   const boost::system::error_code& error) override;
  void closed(const divert::Connection& connection, const divert::Outcome& outcome) override;
  void quic_refused(const divert::Connection& connection) override;
  void on_dns_datagram(const divert::Connection& connection, bool from_server,
                       std::string_view payload,
                       std::chrono::steady_clock::time_point came) override;
  void tick() override;
  /// The same, where `now` is given.
  void tick(std::chrono::steady_clock::time_point now);

  /// To be run once, before or beside the first connections: asks where the upstream proxies are.
  /// Returns what the user should know.
  boost::asio::awaitable<std::vector<std::string>> prepare();

  /// A renewed intermediate. Called on the engine's own context.
  void renew(std::shared_ptr<const tls::LeafSigner> signer);

 private:
  class State;
  explicit Engine(std::unique_ptr<State> state);
  void tell_unanswered(std::chrono::steady_clock::time_point now,
                       std::chrono::steady_clock::duration patience);
  std::shared_ptr<State> state_;
};

}  // namespace mitm::intercept
