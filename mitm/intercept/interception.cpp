// The order in which things are found out: what the first bytes say, what the rules say of the
// host, TLS upstream, TLS to the program, what is spoken inside.
#include "mitm/intercept/interception.h"

#include <algorithm>
#include <utility>

#include "mitm/intercept/session/http1_session.h"
#include "mitm/intercept/session/http2_session.h"
#include "mitm/intercept/session/raw_session.h"
#include "mitm/intercept/session/request_facts.h"
#include "mitm/intercept/session/websocket_session.h"
#include "mitm/intercept/wire/program_tls.h"
#include "mitm/intercept/wire/tls_failure.h"
#include "mitm/intercept/wire/trust_advice.h"
#include "mitm/tls/certificate.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
using Clock = std::chrono::steady_clock;
using divert::Action;
using sniff::Protocol;
using TcpKind = FlowRecorder::TcpKind;

/// Of the server's certificate, under exec: there the program was told of osproxy's CA, so that the
/// question is what else it trusts. Empty: not to be named.
std::string issuer_to_name(const Settings& settings, X509* upstream) {
  if (settings.exec_ca_file.empty() || upstream == nullptr) return {};
  return tls::distinguished_name(X509_get_issuer_name(upstream));
}

constexpr auto kHandshake = std::chrono::seconds{30};
constexpr auto kLinger = std::chrono::seconds{2};

flow::TlsFacts facts_of(SSL* ssl) {
  return {SSL_get_version(ssl), SSL_get_cipher_name(ssl), tls::selected_alpn(ssl)};
}

/// gRPC's own libraries call it by a name of theirs when both ends know that.
bool is_http2(std::string_view alpn) {
  return alpn == "h2" || alpn == "grpc-exp";
}

}  // namespace

Interception::Interception(Services& services, divert::Connection connection, Transport& client,
                           Transport& server, divert::OpenStraight open)
    : services_(services),
      judged_(connection.verdict),
      recorder_(services.context, std::move(connection)),
      client_(client),
      server_(server),
      sniffer_(recorder_, client_, server_),
      connector_(*services.dialer, recorder_, client_, server_, std::move(open)),
      pinning_(recorder_, client_, server_),
      responder_(recorder_, client_) {}

awaitable<void> Interception::run() {
  recorder_.publish_opened();
  Sniffed sniffed;
  const bool reached = co_await sniff_and_connect(sniffed);
  connector_.finish();
  if (reached) co_await apply_verdict(sniffed);
  recorder_.publish_closed();
  client_.tcp.end_on_close();
  server_.tcp.end_on_close();
}

void Interception::end(std::string why) {
  if (connector_.interrupt()) {
    const bool intercepted = recorder_.connection().verdict.action == Action::intercept;
    auto flow = recorder_.begin_tcp(intercepted ? TcpKind::tcp : TcpKind::pass);
    flow->error = services_.dialer->still_waiting(recorder_.connection().verdict);
    recorder_.publish_end(std::move(flow), Clock::now());
  }
  recorder_.ends_because(std::move(why));
  client_.tcp.reset();
  server_.tcp.reset();
}

// Who speaks first, and what the rules say of the host.

/// False: the server could not be reached, and the program has been told.
awaitable<bool> Interception::sniff_and_connect(Sniffed& sniffed) {
  const auto action = [this] { return recorder_.connection().verdict.action; };
  bool reached = server_.tcp.is_open();
  bool proxied = reached && services_.dialer->way(judged_) != divert::Way::straight;
  sniffed = co_await sniffer_.sniff_behind_headers();
  decide(sniffed);
  if (!reached && action() != Action::block) {
    reached = co_await connect_upstream(sniffed);
    if (!reached) co_return false;
    proxied = services_.dialer->proxy_for(recorder_.connection().verdict) != nullptr;
    // Neither side spoke: the server may, now that it is there.
    if (!sniffed.complete) {
      sniffed = co_await sniffer_.sniff_behind_headers();
      decide(sniffed);
    }
  }
  // What passes goes as it would without us.
  const bool straight_after_all = proxied && action() == Action::pass;
  if (straight_after_all) reached = co_await connect_upstream(sniffed);
  co_return reached || action() == Action::block;
}

/// Whom these first bytes are for; empty: only the address is known.
const std::string& Interception::host_of(const Sniffed& sniffed) const {
  return sniffed.host.empty() ? tunnel_host_ : sniffed.host;
}

void Interception::decide(const Sniffed& sniffed) {
  const std::string& host = host_of(sniffed);
  auto verdict = services_.policy->settle(judged_, host);
  const bool by_host = verdict.rule < services_.policy->rules.size() &&
                       !services_.policy->rules[verdict.rule].hosts.empty();
  const bool may_pin = sniffed.protocol == Protocol::tls && !by_host;
  if (verdict.action == Action::intercept && may_pin) pinning_.apply_bypass(verdict, host);
  if (const auto why = reason_to_pass(sniffed.hello);
      !why.empty() && verdict.action == Action::intercept) {
    verdict.action = Action::pass;
    verdict.reason = why;
  }
  if (const auto* proxy = services_.dialer->proxy_for(verdict))
    verdict.reason += "; through " + proxy->label();
  if (!sniffer_.headers().empty())
    verdict.reason += "; behind a PROXY protocol header" + sniffer_.described_headers();
  const auto action = verdict.action;
  recorder_.settle(std::move(verdict), host);
  // The host of a hello is its SNI.
  if (action != Action::intercept && sniffed.protocol == Protocol::tls)
    recorder_.set_sni(sniffed.host);
}

/// False: it could not be reached, and the program has been told.
awaitable<bool> Interception::connect_upstream(const Sniffed& sniffed) {
  auto result = co_await connector_.connect();
  if (result.outcome == UpstreamConnector::Outcome::failed)
    co_await reject(sniffed, std::move(result.why));
  const bool connected = result.outcome == UpstreamConnector::Outcome::connected;
  if (connected) co_await sniffer_.pass_headers_on();
  co_return connected;
}

// What is then done.

/// `sniffed` is emptied as soon as it is of no use: a connection may last.
awaitable<void> Interception::apply_verdict(Sniffed& sniffed) {
  const auto action = recorder_.connection().verdict.action;
  if (action == Action::pass) {
    bool passes = true;
    if (sniffed.protocol == Protocol::raw && may_be_selected()) passes = co_await watch_starttls();
    if (passes) co_await pass();
  } else if (action == Action::block) {
    block();
  } else {
    sniffer_.show_headers();
    co_await run_protocol(sniffed);
  }
}

awaitable<void> Interception::pass() {
  auto flow = recorder_.begin_tcp(TcpKind::pass);
  const auto began = Clock::now();
  const std::string early = client_.stream.take_unread(),
                    early_answer = server_.stream.take_unread();
  if (!early.empty()) co_await write_all(server_.stream, early);  // a failure shows in the relay
  if (!early_answer.empty()) co_await write_all(client_.stream, early_answer);
  const auto outcome = co_await client_.tcp.relay_to(server_.tcp);
  flow->request_bytes =
      flow->request_bytes.value_or(recorder_.bytes_before()) + early.size() + outcome.request_bytes;
  flow->response_bytes =
      flow->response_bytes.value_or(0) + early_answer.size() + outcome.response_bytes;
  flow->error = outcome.error;
  recorder_.publish_end(std::move(flow), began);
}

/// Whether a rule could still select a connection that passes, if only it named its host.
bool Interception::may_be_selected() const {
  const auto selects = [](const auto& rule) { return rule.action != Action::pass; };
  return !recorder_.has_waiting() && std::ranges::any_of(judged_.by_host, selects);
}

/// Until it is known whether the connection changes to TLS, and names its host then. True: it does
/// not.
awaitable<bool> Interception::watch_starttls() {
  auto session = raw_session(RawSession::Kind::watched);
  const Next next = co_await session->run();
  session.reset();
  if (next.kind == Next::Kind::tls) co_await sniff_after_starttls();
  co_return next.kind == Next::Kind::plain;
}

bool Interception::is_plain() const {
  return !client_.tls && !server_.tls;
}

void Interception::block() {
  client_.tcp.reset();
  server_.tcp.reset();
  recorder_.publish_end(recorder_.begin_tcp(TcpKind::block), Clock::now());
}

/// The program believes itself connected: it is told in its own protocol, where that has a way to.
awaitable<void> Interception::reject(Sniffed sniffed, std::string why) {
  const bool intercepted = recorder_.connection().verdict.action == Action::intercept;
  bool told = false;
  if (intercepted && sniffed.protocol == Protocol::tls) {
    recorder_.set_sni(sniffed.hello.sni);
    co_await reject_tls(std::move(sniffed.hello), std::move(why));
    co_return;
  }
  if (intercepted && sniffed.protocol == Protocol::http1) {
    told = co_await responder_.answer_http(why);
  } else if (intercepted && sniffed.protocol == Protocol::http2) {
    told = co_await responder_.answer_http2(why);
  }
  if (told) co_return;
  auto flow = recorder_.begin_tcp(intercepted ? TcpKind::tcp : TcpKind::pass);
  flow->error = std::move(why);
  recorder_.publish_end(std::move(flow), Clock::now());
  client_.tcp.reset();
}

// What is spoken.

awaitable<void> Interception::run_protocol(Sniffed& sniffed) {
  if (sniffed.protocol == Protocol::tls) return run_tls(sniffed.hello);
  return run_sessions(session_for(sniffed.protocol));
}

/// Anything but HTTP is raw.
std::unique_ptr<Session> Interception::session_for(Protocol protocol) {
  if (protocol == Protocol::http2)
    return std::make_unique<Http2Session>(recorder_, client_.stream, server_.stream);
  if (protocol == Protocol::http1)
    return std::make_unique<Http1Session>(recorder_, client_.stream, server_.stream,
                                          client_.tls ? "https" : "http");
  return raw_session(RawSession::Kind::intercepted);
}

std::unique_ptr<Session> Interception::raw_session(RawSession::Kind kind) {
  return std::make_unique<RawSession>(recorder_, client_.stream, server_.stream, kind, is_plain());
}

/// `session`, and those that follow it on the connection.
awaitable<void> Interception::run_sessions(std::unique_ptr<Session> session) {
  Next next;
  while (session) {
    Next following = co_await session->run();
    next = std::move(following);
    session = session_after(next);
  }
  if (next.kind == Next::Kind::tunnel) co_await sniff_again();
  if (next.kind == Next::Kind::tls) co_await sniff_after_starttls();
}

/// Null: none, or the next bytes say which.
std::unique_ptr<Session> Interception::session_after(Next& next) {
  if (next.kind == Next::Kind::raw) return raw_session(RawSession::Kind::intercepted);
  if (next.kind == Next::Kind::http2) {
    auto session = std::make_unique<Http2Session>(recorder_, client_.stream, server_.stream);
    session->adopt(std::move(next.flow));
    return session;
  }
  if (next.kind == Next::Kind::websocket)
    return std::make_unique<WebSocketSession>(recorder_, client_.stream, server_.stream,
                                              std::move(next.flow), next.began);
  if (next.kind != Next::Kind::tunnel) return nullptr;
  tunnel_host_ = sniff::host_of_authority(next.target);
  if (const auto port = port_of(next.target); port != 0) recorder_.set_port(port);
  return client_.tls ? raw_session(RawSession::Kind::intercepted) : nullptr;
}

/// Inside the tunnel of an explicit proxy.
awaitable<void> Interception::sniff_again() {
  Sniffed sniffed = co_await sniffer_.sniff_behind_headers();
  decide(sniffed);
  co_await apply_verdict(sniffed);
}

/// Program and server are about to begin TLS, after plain words.
awaitable<void> Interception::sniff_after_starttls() {
  Sniffed sniffed = co_await sniffer_.sniff(true);
  if (sniffed.protocol != Protocol::tls) sniffed = {};
  decide(sniffed);
  co_await apply_verdict(sniffed);
}

// TLS.

awaitable<void> Interception::run_tls(sniff::ClientHello& hello) {
  recorder_.set_sni(hello.sni);
  pinning_.set_offers_no_protocol(hello.alpn.empty());
  const bool upgrades = recorder_.has_waiting();
  std::optional<UpstreamTls::Attempt> attempt;
  const bool agreed = co_await agree_on_tls(hello, attempt);
  hello = {};
  if (!agreed) co_return;
  pinning_.tls_agreed();
  if (upgrades) {
    co_await run_sessions(raw_session(RawSession::Kind::intercepted));
    // Some only look whether there is TLS (openssl s_client -starttls).
    pinning_.accepted();
    co_return;
  }
  std::unique_ptr<Session> session = co_await first_session_in_tls();
  if (session) co_await run_sessions(std::move(session));
  if (auto error = pinning_.judge_ending()) report_tls_error(std::move(*error));
}

/// With the server, then with the program. False: with one of them there is none, and the program
/// has been told. Apart from run_tls(): what it needs does not stay while the connection lasts.
awaitable<bool> Interception::agree_on_tls(sniff::ClientHello& hello,
                                           std::optional<UpstreamTls::Attempt>& attempt) {
  const UpstreamTls::Ask ask{recorder_.connection().server, hello.sni, offered_upstream(hello.alpn),
                             &hello, recorder_.host()};
  attempt.emplace(*services_.upstream, ask);
  std::string why = co_await services_.upstream->connect(server_, *attempt, ask);
  if (attempt->facts()) recorder_.set_upstream_tls(attempt->facts());
  if (!why.empty()) {
    co_await reject_tls(std::move(hello), std::move(why), attempt->alert());
    co_return false;
  }
  if (program_left()) {
    report_tls_error("the program closed the connection before TLS with the server was agreed on");
    server_.stream.shutdown_write(true);
    co_return false;
  }
  const tls::X509Ptr certificate{SSL_get1_peer_certificate(server_.tls->ssl())};
  const std::string alpn = tls::selected_alpn(server_.tls->ssl());
  const bool accepted = co_await accept_tls(hello, certificate.get(), alpn);
  co_return accepted;
}

/// True if the program closed before its handshake. Reads what is there, and pushes it back.
bool Interception::program_left() {
  constexpr std::size_t kEnough = 2 * sniff::kMaxSniffedBytes;  // a program that says more is there
  auto look = client_.stream.look(services_.context.scratch);
  while (look.result.ok() && look.bytes.size() < kEnough)
    look = client_.stream.look(services_.context.scratch);
  return !look.result.ok() && !look.result.blocked();
}

awaitable<bool> Interception::accept_tls(const sniff::ClientHello& hello, X509* upstream,
                                         std::string_view alpn) {
  std::string outdated = co_await services_.renewal.before_leaf(services_.leaves);
  if (!outdated.empty()) {
    report_tls_error(std::move(outdated));
    co_return false;
  }
  auto context =
      services_.leaves.context_for({recorder_.server_name(), upstream, key_type_for(hello)});
  tls::SslPtr ssl{context ? SSL_new(context->get()) : nullptr};
  if (!ssl) {
    report_tls_error(context ? "cannot set up TLS" : context.error().text);
    co_return false;
  }
  AlpnChoice choice{std::string{alpn}};
  choice.attach(context->get(), ssl.get());
  SSL_set_accept_state(ssl.get());
  client_.start_tls(std::move(ssl));
  const IoResult done = co_await client_.tls->handshake(kHandshake);
  if (!done.ok()) {
    const auto& settings = services_.context.settings;
    report_tls_error(pinning_.refused(
        refusal_of(*client_.tls, done),
        explain_refusal(*client_.tls, done, advice_on_trust(settings, recorder_.who().program),
                        issuer_to_name(settings, upstream))));
    server_.stream.shutdown_write(true);
    co_return false;
  }
  SSL_set_app_data(client_.tls->ssl(), nullptr);
  recorder_.set_tls(facts_of(client_.tls->ssl()));
  co_return true;
}

/// Null: the program has left, or a rule forbids it.
awaitable<std::unique_ptr<Session>> Interception::first_session_in_tls() {
  const std::string alpn = tls::selected_alpn(client_.tls->ssl());
  Protocol protocol = is_http2(alpn) ? Protocol::http2 : Protocol::raw;
  if (alpn.starts_with("http/1")) protocol = Protocol::http1;
  if (alpn.empty()) {
    const Sniffed sniffed = co_await sniffer_.sniff(false);
    protocol = sniffed.protocol;
    if (pinning_.left_at_once()) {
      server_.stream.shutdown_write(true);
      co_return std::unique_ptr<Session>();
    }
  }
  std::unique_ptr<Session> session = session_for(protocol);
  co_return std::move(session);
}

/// Upstream TLS has failed: tells the program why with a page, if it is to have one and speaks
/// HTTP, else with `alert`.
awaitable<void> Interception::reject_tls(sniff::ClientHello hello, std::string why, int alert) {
  server_.tcp.reset();
  const bool tellable = !recorder_.has_waiting() && !program_left();
  const std::string protocol =
      tellable ? page_protocol(services_.context.settings.error_page, hello) : std::string();
  if (protocol.empty()) {
    report_tls_error(std::move(why));
    if (client_.stream.try_write(alert_record(alert)).ok())
      co_await finish(client_.stream, services_.context.scratch, kLinger);
    co_return;
  }
  const bool accepted = co_await accept_tls(hello, nullptr, protocol);
  if (!accepted) co_return;
  const bool http2 = protocol == "h2";
  bool told = false;
  if (http2) {
    told = co_await responder_.answer_http2(why);
  } else {
    told = co_await responder_.answer_http(why);
  }
  if (told) co_return;
  report_tls_error(std::move(why));
  client_.tcp.reset();
}

void Interception::report_tls_error(std::string why) {
  auto flow = recorder_.begin_tcp(TcpKind::tls_error);
  flow->error = std::move(why);
  recorder_.publish_end(std::move(flow), Clock::now());
}

}  // namespace mitm::intercept
