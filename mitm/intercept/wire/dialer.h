// Upstream connections that do not go straight to their server: through the user's proxies.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "divert/worker/connection.h"
#include "mitm/intercept/context/context.h"
#include "mitm/intercept/wire/side.h"
#include "mitm/intercept/wire/upstream_tls.h"
#include "mitm/proxy/handshake.h"

namespace mitm::intercept {

/// Why a connection could not be made; empty: it could.
struct DialFailure {
  std::string why;  ///< "the proxy http://proxy.example:3128 refused 192.0.2.1:443: 403 Forbidden"
  int error = 0;    ///< errno that tells the program the same
};

/// One per io_context. A proxy's name is resolved once, and again when none of its addresses can be
/// reached, never on the io_context's thread.
class Dialer {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  /// Errors name the rule whose `upstream` is wrong.
  [[nodiscard]] static base::Result<std::unique_ptr<Dialer>> make(const divert::Policy& policy,
                                                                  UpstreamTls& tls);

  /// See divert::Interceptor.
  [[nodiscard]] divert::Way way(const divert::Verdict& verdict) const;
  /// The proxy of a connection with this verdict, its host settled or not to be known; null: none.
  [[nodiscard]] const proxy::Proxy* proxy_for(const divert::Verdict& verdict) const;

  /// What to say of a connection with this verdict that is still being made when the run ends.
  [[nodiscard]] std::string still_waiting(const divert::Verdict& verdict) const;

  /// Resolves the names of all proxies ahead of the first connection; returns what to say of those
  /// that could not be found.
  boost::asio::awaitable<std::vector<std::string>> prepare();

  /// Connects `into` as `verdict` says; `host` is told to proxies that resolve names, `open` opens
  /// it when it goes straight (empty: as any socket).
  boost::asio::awaitable<DialFailure> dial(const Context& context, divert::Verdict verdict,
                                           base::Endpoint server, std::string_view host,
                                           Socket& into, const divert::OpenStraight& open);

 private:
  struct Route {
    proxy::Proxy proxy;
    std::vector<base::Endpoint> addresses;
  };

  explicit Dialer(UpstreamTls& tls) : tls_(tls) {}
  base::Result<std::size_t> add(std::string_view url);
  [[nodiscard]] std::size_t route_of(std::uint16_t rule, divert::Action action) const;
  static boost::asio::awaitable<DialFailure> dial_straight(base::Endpoint server, Socket& into,
                                                           const divert::OpenStraight& open);
  boost::asio::awaitable<std::string> resolve(Route& route);
  boost::asio::awaitable<std::string> connect_to(Route& route, Socket& into);
  boost::asio::awaitable<DialFailure> negotiate(const Context& context, const proxy::Proxy& proxy,
                                                Side& side, proxy::Handshake& handshake);
  boost::asio::awaitable<DialFailure> through_tls(const Context& context, Route& route,
                                                  proxy::Handshake& handshake, Socket& into);

  UpstreamTls& tls_;
  std::vector<Route> routes_;          ///< [0] stands for none
  std::vector<std::size_t> of_rules_;  ///< index into routes_, for each rule of the policy
  std::size_t usual_ = 0;              ///< for whoever has no rule
};

}  // namespace mitm::intercept
