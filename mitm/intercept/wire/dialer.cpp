// Which way a connection takes, and what is said to the proxy on it.
#include "mitm/intercept/wire/dialer.h"

#include <algorithm>
#include <cerrno>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "divert/worker/keep_alive.h"
#include "divert/worker/source_ports.h"
#include "mitm/intercept/wire/tunnel.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using divert::Action;
using divert::Way;
using Clock = std::chrono::steady_clock;
using tcp = asio::ip::tcp;

/// Of one address of a proxy, and of what it has to say after that: it connects, too.
constexpr auto kConnect = std::chrono::seconds{5};
constexpr auto kAnswer = std::chrono::seconds{30};
constexpr std::size_t kAnswerBytes = 4 << 10;  ///< of it, looked at once

DialFailure failed(const proxy::Proxy& proxy, std::string_view what, int error = ECONNREFUSED) {
  return {fmt::format("the proxy {} {}", proxy.label(), what), error};
}

/// `socket` is open.
awaitable<boost::system::error_code> connect(tcp::socket& socket, base::Endpoint address,
                                             Clock::duration limit) {
  namespace ex = asio::experimental;
  boost::system::error_code error;
  if (const int bound = divert::bind_source_port(socket.native_handle(), address))
    co_return boost::system::error_code(bound, boost::system::system_category());
  asio::steady_timer timer{socket.get_executor(), limit};
  const auto [order, refused, late] =
      co_await ex::make_parallel_group(socket.async_connect(address, asio::deferred),
                                       timer.async_wait(asio::deferred))
          .async_wait(ex::wait_for_one(), asio::use_awaitable);
  if (order[0] != 0) co_return make_error_code(boost::system::errc::timed_out);
  if (refused) co_return refused;
  socket.set_option(tcp::no_delay{true}, error);
  socket.non_blocking(true, error);
  divert::keep_alive(socket.native_handle());
  co_return error;
}

}  // namespace

base::Result<std::unique_ptr<Dialer>> Dialer::make(const divert::Policy& policy, UpstreamTls& tls) {
  std::unique_ptr<Dialer> dialer{new Dialer{tls}};
  dialer->routes_.emplace_back();
  const auto usual = dialer->add(policy.upstream);
  if (!usual) return base::failure("upstream-proxy: {}", usual.error().text);
  dialer->usual_ = *usual;
  for (const auto& rule : policy.rules) {
    const auto one = rule.upstream ? dialer->add(*rule.upstream) : usual;
    if (!one)
      return base::failure("rules[{}].upstream: {}", dialer->of_rules_.size(), one.error().text);
    dialer->of_rules_.push_back(*one);
  }
  return dialer;
}

/// Rules with the same proxy share what is known of it.
base::Result<std::size_t> Dialer::add(std::string_view url) {
  auto parsed = proxy::parse_upstream(url);
  if (!parsed) return parsed.error();
  if (!*parsed) return std::size_t{0};
  const auto same = [&](const Route& route) {
    const auto& known = route.proxy;
    const auto& wanted = **parsed;
    const bool as_who =
        known.credentials.has_value() == wanted.credentials.has_value() &&
        (!known.credentials || (known.credentials->user == wanted.credentials->user &&
                                known.credentials->password == wanted.credentials->password));
    return as_who && known.label() == wanted.label();
  };
  const auto known = std::find_if(routes_.begin() + 1, routes_.end(), same);
  if (known != routes_.end()) return static_cast<std::size_t>(known - routes_.begin());
  routes_.push_back({std::move(**parsed), {}});
  return routes_.size() - 1;
}

/// What passes goes straight, as it would without us.
std::size_t Dialer::route_of(std::uint16_t rule, Action action) const {
  if (action != Action::intercept) return 0;
  return rule < of_rules_.size() ? of_rules_[rule] : usual_;
}

const proxy::Proxy* Dialer::proxy_for(const divert::Verdict& verdict) const {
  const auto route = route_of(verdict.rule, verdict.action);
  return route == 0 ? nullptr : &routes_[route].proxy;
}

Way Dialer::way(const divert::Verdict& verdict) const {
  const auto route = route_of(verdict.rule, verdict.action);
  const auto may_go_elsewhere = [&](const divert::Verdict::ByHost& choice) {
    return route_of(choice.rule, choice.action) != route;
  };
  if (std::ranges::any_of(verdict.by_host, may_go_elsewhere)) return Way::late;
  if (route == 0) return Way::straight;
  return routes_[route].proxy.remote_names ? Way::late : Way::ahead;
}

awaitable<DialFailure> Dialer::dial(const Context& context, divert::Verdict verdict,
                                    base::Endpoint server, std::string_view host, Socket& into,
                                    const divert::OpenStraight& open) {
  Route& route = routes_[route_of(verdict.rule, verdict.action)];
  if (&route == &routes_[0]) {
    DialFailure failure = co_await dial_straight(server, into, open);
    co_return failure;
  }
  std::string why = co_await connect_to(route, into);
  if (!why.empty()) co_return failed(route.proxy, why);
  proxy::Handshake handshake{route.proxy, {server, std::string{host}}};
  if (route.proxy.kind == proxy::Proxy::Kind::https) {
    DialFailure failure = co_await through_tls(context, route, handshake, into);
    co_return failure;
  }
  TcpStream tcp{std::move(into)};
  Side side{tcp};
  DialFailure failure = co_await negotiate(context, route.proxy, side, handshake);
  into = tcp.release();
  co_return failure;
}

awaitable<DialFailure> Dialer::dial_straight(base::Endpoint server, Socket& into,
                                             const divert::OpenStraight& open) {
  boost::system::error_code error;
  if (open) {
    error = co_await open(into);
  } else {
    into.open(server.protocol(), error);
  }
  if (!error) error = co_await connect(into, server, kConnect + kConnect);
  if (!error) co_return DialFailure{};
  co_return DialFailure{
      fmt::format("cannot connect to {}: {}", base::to_string(server), error.message()),
      error.value()};
}

std::string Dialer::still_waiting(const divert::Verdict& verdict) const {
  const auto* const proxy = proxy_for(verdict);
  if (proxy == nullptr) return "osproxy ended before the server had answered";
  return fmt::format("the proxy {} had not answered when osproxy ended", proxy->label());
}

awaitable<std::vector<std::string>> Dialer::prepare() {
  std::vector<std::string> complaints;
  for (std::size_t i = 1; i < routes_.size(); ++i) {
    std::string why = co_await resolve(routes_[i]);
    if (!why.empty()) complaints.push_back(failed(routes_[i].proxy, why).why);
  }
  co_return complaints;
}

/// Why none of the proxy's addresses could be reached, as of its names.
awaitable<std::string> Dialer::connect_to(Route& route, Socket& into) {
  boost::system::error_code error;
  for (int round = 0; round < 2; ++round) {
    const bool known = !route.addresses.empty();
    if (!known) {
      std::string why = co_await resolve(route);
      if (!why.empty()) co_return why;
    }
    const std::vector<base::Endpoint> addresses = route.addresses;
    for (const auto& address : addresses) {
      into.close(error);
      into.open(address.protocol(), error);
      if (!error) error = co_await connect(into, address, kConnect);
      if (!error) co_return std::string{};
    }
    // It may have moved since its name was asked for.
    route.addresses.clear();
    if (!known) break;
  }
  co_return fmt::format("cannot be reached: {}", error.message());
}

awaitable<std::string> Dialer::resolve(Route& route) {
  const auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver{executor};
  const std::string port = std::to_string(route.proxy.port);
  const auto [error, found] =
      co_await resolver.async_resolve(route.proxy.host, port, asio::as_tuple(asio::use_awaitable));
  if (error) co_return fmt::format("cannot be found: {}", error.message());
  route.addresses.clear();
  for (const auto& entry : found) route.addresses.push_back(entry.endpoint());
  co_return std::string{};
}

/// Until the proxy has let us through. What it sends behind its answer stays in `side`, unread.
awaitable<DialFailure> Dialer::negotiate(const Context& context, const proxy::Proxy& proxy,
                                         Side& side, proxy::Handshake& handshake) {
  using What = proxy::Handshake::What;
  const auto deadline = Clock::now() + kAnswer;
  const auto scratch = context.scratch.first(kAnswerBytes);
  auto what = What::send;
  while (what != What::open) {
    if (what == What::send) {
      const IoResult put = co_await write_all(side.stream, handshake.to_send());
      if (!put.ok()) co_return failed(proxy, "has closed the connection");
      what = What::more;
    }
    const auto seen = side.look(scratch, true);
    if (!seen.bytes.empty()) {
      const auto step = handshake.take(seen.bytes);
      (void)side.stream.try_read(scratch.first(step.used));
      what = step.what;
      if (what == What::refused)
        co_return failed(proxy, fmt::format("refused {}: {}", handshake.target(), handshake.why()),
                         handshake.error());
      continue;
    }
    if (!seen.result.blocked())
      co_return failed(proxy, "has closed the connection without an answer");
    const bool ready = co_await side.stream.wait(seen.result, deadline);
    if (!ready)
      co_return failed(
          proxy, fmt::format("has accepted the connection, but not answered within {} seconds",
                             kAnswer.count()));
  }
  co_return DialFailure{};
}

awaitable<DialFailure> Dialer::through_tls(const Context& context, Route& route,
                                           proxy::Handshake& handshake, Socket& into) {
  const auto executor = co_await asio::this_coro::executor;
  boost::system::error_code gone;
  UpstreamTls::Ask ask{into.remote_endpoint(gone), route.proxy.host, {}, nullptr};
  boost::system::error_code no_address;
  asio::ip::make_address(ask.sni, no_address);
  if (!no_address) ask.sni.clear();
  auto tunnel = std::make_unique<Tunnel>(std::move(into), tls_, ask, context.settings.memory);
  const std::string why = co_await tls_.connect(tunnel->far, tunnel->attempt, ask);
  if (!why.empty()) co_return failed(route.proxy, fmt::format("cannot be used: {}", why));
  DialFailure failure = co_await negotiate(context, route.proxy, tunnel->far, handshake);
  if (!failure.why.empty()) co_return failure;
  auto pair = loopback_pair(executor);
  if (!pair) co_return failed(route.proxy, fmt::format("cannot be used: {}", pair.error().text));
  into = std::move(pair->first);
  tunnel->near = std::make_unique<Tunnel::Near>(std::move(pair->second));
  asio::co_spawn(executor, run(std::move(tunnel), context.scratch), asio::detached);
  co_return DialFailure{};
}

}  // namespace mitm::intercept
