// How an interception comes to its server: often the connection is there already; through a proxy
// it may have to wait for the first bytes.
#include <utility>

#include "mitm/intercept/interception.h"
#include "mitm/intercept/wire/program_tls.h"

namespace mitm::intercept {

using boost::asio::awaitable;
using divert::Action;
using sniff::Protocol;

namespace {

constexpr int kHeaders = 4;  ///< PROXY protocol headers, one proxy behind another

/// Version 1 is text: ": TCP4 192.0.2.1 192.0.2.2 5000 443".
std::string described(std::string_view headers) {
  constexpr std::string_view kText = "PROXY ";
  if (!headers.starts_with(kText)) return {};
  return ": " + std::string(headers.substr(kText.size(), headers.find('\r') - kText.size()));
}

}  // namespace

awaitable<Interception::Speech> Interception::listen_behind_headers() {
  Speech speech = co_await listen(true);
  for (int header = 0; speech.protocol == Protocol::proxied && header < kHeaders; ++header) {
    const bool taken = co_await take_header(speech.proxy_header);
    if (!taken) break;
    speech = co_await listen(true);
  }
  co_return speech;
}

/// The server may have to hear it before anything else happens.
awaitable<bool> Interception::take_header(std::size_t size) {
  const std::size_t end = proxy_headers_.size() + size;
  while (proxy_headers_.size() < end) {
    const auto scratch = services_.context.scratch.first(end - proxy_headers_.size());
    const IoResult got = client_.try_read(scratch);
    if (!got.ok() || got.bytes == 0) co_return false;
    proxy_headers_.append(scratch.data(), got.bytes);
  }
  recorder_.set_bytes_before(proxy_headers_.size());
  if (!server_.socket().is_open()) co_return true;
  const std::string_view header = std::string_view(proxy_headers_).substr(end - size);
  const IoResult put = co_await server_.write_all(header);
  co_return put.ok();
}

/// To a server that is connected only now.
awaitable<void> Interception::pass_headers_on() {
  if (!proxy_headers_.empty())
    co_await server_.write_all(proxy_headers_);  // a failure shows in what follows
}

awaitable<bool> Interception::find_out(Speech& speech) {
  const auto action = [this] { return recorder_.connection().verdict.action; };
  bool reached = server_.socket().is_open();
  bool proxied = reached && services_.dialer->way(judged_) != divert::Way::straight;
  speech = co_await listen_behind_headers();
  decide(speech);
  if (!reached && action() != Action::block) {
    reached = co_await reach(speech);
    if (!reached) co_return false;
    proxied = services_.dialer->proxy_for(recorder_.connection().verdict) != nullptr;
    // Nobody spoke: the server may, now that it is there.
    if (!speech.complete) {
      speech = co_await listen_behind_headers();
      decide(speech);
    }
  }
  // What passes goes as it would without us.
  const bool straight_after_all = proxied && action() == Action::pass;
  if (straight_after_all) reached = co_await reach(speech);
  co_return reached || action() == Action::block;
}

/// Whom these first bytes are for; empty: there is nothing but the address.
const std::string& Interception::host_of(const Speech& speech) const {
  return speech.host.empty() ? tunnel_host_ : speech.host;
}

void Interception::decide(const Speech& speech) {
  const std::string& host = host_of(speech);
  auto verdict = services_.policy->settle(judged_, host);
  learn_from_the_past(verdict, speech);
  if (const auto why = reason_to_pass(speech.hello);
      !why.empty() && verdict.action == Action::intercept) {
    verdict.action = Action::pass;
    verdict.reason = why;
  }
  if (const auto* proxy = services_.dialer->proxy_for(verdict))
    verdict.reason += "; through " + proxy->label();
  if (!proxy_headers_.empty())
    verdict.reason += "; behind a PROXY protocol header" + described(proxy_headers_);
  const auto action = verdict.action;
  recorder_.settle(std::move(verdict), host);
  // The host of a hello is its SNI.
  if (action != Action::intercept && speech.protocol == Protocol::tls)
    recorder_.set_sni(speech.host);
}

awaitable<bool> Interception::reach(const Speech& speech) {
  const auto& connection = recorder_.connection();
  Channel::Socket server{client_.socket().get_executor()};
  dialing_ = true;
  DialFailure failure = co_await services_.dialer->dial(connection.verdict, connection.server,
                                                        recorder_.host(), server, open_);
  // Else it has been reported by end().
  if (!std::exchange(dialing_, false)) co_return false;
  if (!failure.why.empty()) {
    co_await turn_away(speech, std::move(failure.why));
    co_return false;
  }
  server_.replace(std::move(server));
  recorder_.set_connected();
  co_await pass_headers_on();
  co_return true;
}

void Interception::end(std::string why) {
  if (std::exchange(dialing_, false)) {
    const bool intercepted = recorder_.connection().verdict.action == Action::intercept;
    auto flow =
        recorder_.begin_tcp(intercepted ? FlowRecorder::TcpKind::tcp : FlowRecorder::TcpKind::pass);
    flow->error = services_.dialer->still_waiting(recorder_.connection().verdict);
    recorder_.publish_end(std::move(flow), std::chrono::steady_clock::now());
  }
  recorder_.ends_because(std::move(why));
  client_.reset();
  server_.reset();
}

/// The program believes itself connected: it is told in its own protocol, where that has a way to.
awaitable<void> Interception::turn_away(sniff::SniffResult speech, std::string why) {
  const bool intercepted = recorder_.connection().verdict.action == Action::intercept;
  bool told = false;
  if (intercepted && speech.protocol == Protocol::tls) {
    recorder_.set_sni(speech.hello.sni);
    co_await refuse_tls(std::move(speech.hello), std::move(why));
    co_return;
  }
  if (intercepted && speech.protocol == Protocol::http1) {
    told = co_await refuse_http(why);
  } else if (intercepted && speech.protocol == Protocol::http2) {
    told = co_await refuse_http2(why);
  }
  if (told) co_return;
  auto flow =
      recorder_.begin_tcp(intercepted ? FlowRecorder::TcpKind::tcp : FlowRecorder::TcpKind::pass);
  flow->error = std::move(why);
  recorder_.publish_end(std::move(flow), std::chrono::steady_clock::now());
  client_.reset();
}

}  // namespace mitm::intercept
