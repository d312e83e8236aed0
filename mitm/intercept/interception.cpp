// The order in which things are found out: who speaks first, what the rules say of the host, TLS
// upstream, TLS to the program, what is spoken inside.
#include "mitm/intercept/interception.h"

#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "divert/worker/relay.h"
#include "mitm/intercept/session/http2_session.h"
#include "mitm/intercept/session/raw_session.h"
#include "mitm/intercept/session/request_facts.h"
#include "mitm/intercept/session/websocket_session.h"
#include "mitm/intercept/wire/program_tls.h"
#include "mitm/intercept/wire/turn.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Clock = std::chrono::steady_clock;
using sniff::Protocol;

constexpr auto kUndecided =
    std::chrono::seconds{5};  ///< for the rest of a hello or head that has begun
constexpr auto kDoubtful = std::chrono::milliseconds{300};
/// How long a server that is yet to be connected waits for the program to speak first.
constexpr auto kSilence = std::chrono::milliseconds{500};
constexpr auto kHandshake = std::chrono::seconds{30};

flow::TlsFacts facts_of(SSL* ssl) {
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &size);
  return {SSL_get_version(ssl), SSL_get_cipher_name(ssl),
          std::string(reinterpret_cast<const char*>(alpn), size)};
}

std::string selected_alpn(SSL* ssl) {
  return facts_of(ssl).alpn;
}

/// gRPC's own libraries call it by a name of theirs when both ends know that.
bool is_http2(std::string_view alpn) {
  return alpn == "h2" || alpn == "grpc-exp";
}

}  // namespace

Interception::Interception(Services& services, divert::Connection connection,
                           Channel::Socket client, Channel::Socket server,
                           divert::OpenStraight open)
    : services_(services),
      judged_(connection.verdict),
      recorder_(services.context, std::move(connection)),
      client_(std::move(client)),
      server_(std::move(server)),
      open_(std::move(open)) {}

awaitable<void> Interception::run() {
  Speech speech;
  const bool reached = co_await find_out(speech);
  open_ = {};  // with the descriptor that it may hold
  if (reached) co_await act(std::move(speech));
  client_.end_on_close();
  server_.end_on_close();
}

/// What the rules say, done.
awaitable<void> Interception::act(Speech speech) {
  const auto action = recorder_.connection().verdict.action;
  if (action == divert::Action::pass) {
    bool passes = true;
    if (speech.protocol == Protocol::raw && may_be_selected()) passes = co_await watch();
    if (passes) co_await pass();
  } else if (action == divert::Action::block) {
    block();
  } else {
    co_await converse(std::move(speech));
  }
}

// Who speaks first.

awaitable<Interception::Speech> Interception::listen(bool leave) {
  const std::span<char> scratch = services_.context.scratch.first(sniff::kMaxSniffedBytes);
  Speech speech;
  std::size_t seen = 0;
  bool ended = false;
  const bool alone = !server_.socket().is_open();
  Clock::time_point began;
  auto limit = alone ? Clock::now() + kSilence : Clock::time_point::max();
  for (;;) {
    const auto client = client_.look(scratch, leave);
    if (client.bytes.size() > seen) {
      speech = sniff::inspect(client.bytes);
      if (speech.protocol == Protocol::raw ||
          (speech.complete && speech.protocol != Protocol::undecided))
        break;
      if (seen == 0) began = Clock::now();
      limit = began + (speech.doubtful ? Clock::duration{kDoubtful} : Clock::duration{kUndecided});
      seen = client.bytes.size();
    }
    const auto server = alone ? Channel::Look{} : server_.look(scratch, leave);
    const bool server_spoke =
        !server.bytes.empty() || !(server.result.ok() || server.result.blocked());
    const bool client_done =
        client.result.ended() || client.result.status == IoResult::Status::failed;
    const bool patient = server_spoke && http::begins_with_settings(server.bytes);
    if (patient && limit == Clock::time_point::max()) limit = Clock::now() + kUndecided;
    if ((server_spoke && !patient) || client_done || ended || Clock::now() >= limit) break;
    ended = leave && client_.has_end();
    if (ended) continue;  // what came with the end is looked at as well
    if (leave && !client_.has_pushed_back()) client_.set_low_watermark(seen + 1);
    if (alone || patient) {
      co_await client_.wait_until(client.result, limit);
    } else {
      co_await wait_for_either(limit);
    }
  }
  if (leave && seen > 0) client_.set_low_watermark(1);
  if (!speech.complete && speech.protocol != Protocol::http1) speech.protocol = Protocol::raw;
  co_return speech;
}

awaitable<void> Interception::wait_for_either(Clock::time_point limit) {
  asio::steady_timer timer{client_.socket().get_executor(), limit};
  co_await asio::experimental::make_parallel_group(
      client_.socket().async_wait(Channel::Socket::wait_read, asio::deferred),
      server_.socket().async_wait(Channel::Socket::wait_read, asio::deferred),
      timer.async_wait(asio::deferred))
      .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
}

// What is then done.

awaitable<void> Interception::pass() {
  auto flow = recorder_.begin_tcp(FlowRecorder::TcpKind::pass);
  const auto began = Clock::now();
  const std::string early = client_.take_pushed_back(), early_answer = server_.take_pushed_back();
  if (!early.empty()) co_await server_.write_all(early);  // a failure shows in the relay
  if (!early_answer.empty()) co_await client_.write_all(early_answer);
  const auto outcome = co_await divert::relay(client_.release(), server_.release());
  flow->request_bytes =
      flow->request_bytes.value_or(recorder_.bytes_before()) + early.size() + outcome.request_bytes;
  flow->response_bytes =
      flow->response_bytes.value_or(0) + early_answer.size() + outcome.response_bytes;
  flow->error = outcome.error;
  recorder_.publish_end(std::move(flow), began);
}

/// Whether a rule could still select a connection that passes, if only it named its host.
bool Interception::may_be_selected() const {
  const auto selects = [](const auto& rule) { return rule.action != divert::Action::pass; };
  return !recorder_.has_waiting() && std::ranges::any_of(judged_.by_host, selects);
}

/// Until it is known whether the connection changes to TLS, and names its host then. True: it does
/// not.
awaitable<bool> Interception::watch() {
  auto session =
      std::make_unique<RawSession>(recorder_, client_, server_, RawSession::Kind::watched);
  const auto outcome = co_await session->run();
  session.reset();
  if (outcome == RawSession::Outcome::upgrades) co_await upgrade();
  co_return outcome == RawSession::Outcome::plain;
}

void Interception::block() {
  client_.reset();
  server_.reset();
  recorder_.publish_end(recorder_.begin_tcp(FlowRecorder::TcpKind::block), Clock::now());
}

awaitable<void> Interception::converse(Speech speech) {
  recorder_.data(flow::Direction::request, std::string_view(proxy_headers_).substr(headers_shown_));
  headers_shown_ = proxy_headers_.size();
  if (speech.protocol == Protocol::tls) return run_tls(std::move(speech.hello));
  if (speech.protocol == Protocol::http2) return run_http2(nullptr);
  return speech.protocol == Protocol::http1 ? run_http("http") : run_raw();
}

/// `upgraded`: the HTTP/1.1 request that asked for it, if any.
awaitable<void> Interception::run_http2(std::shared_ptr<flow::HttpFlow> upgraded) {
  const auto session = std::make_unique<Http2Session>(recorder_, client_, server_);
  if (upgraded) session->adopt(std::move(upgraded));
  co_await session->run();
}

awaitable<void> Interception::run_raw() {
  auto session = std::make_unique<RawSession>(recorder_, client_, server_);
  const auto outcome = co_await session->run();
  session.reset();
  if (outcome == RawSession::Outcome::upgrades) co_await upgrade();
}

/// Program and server are about to begin TLS, after plain words.
awaitable<void> Interception::upgrade() {
  Speech speech = co_await listen(true);
  if (speech.protocol != Protocol::tls) speech = {};
  decide(speech);
  co_await act(std::move(speech));
}

awaitable<void> Interception::run_http(std::string_view scheme) {
  auto session = std::make_unique<Http1Session>(recorder_, client_, server_, scheme);
  const auto outcome = co_await session->run();
  auto upgraded = session->take_upgraded_to_http2();
  auto websocket = session->take_websocket();
  if (outcome == Http1Session::Outcome::tunnel) {
    tunnel_host_ = sniff::host_of_authority(session->tunnel_target());
    if (const auto port = port_of(session->tunnel_target()); port != 0) recorder_.set_port(port);
  }
  session.reset();
  if (outcome == Http1Session::Outcome::done) co_return;
  if (upgraded) {
    co_await run_http2(std::move(upgraded));
    co_return;
  }
  if (outcome == Http1Session::Outcome::websocket) {
    const auto messages = std::make_unique<WebSocketSession>(
        recorder_, client_, server_, std::move(websocket.flow), websocket.began);
    co_await messages->run();
    co_return;
  }
  if (outcome == Http1Session::Outcome::upgraded || client_.ssl() != nullptr) {
    co_await run_raw();
    co_return;
  }
  co_await begin_anew();
}

/// Inside the tunnel of an explicit proxy.
awaitable<void> Interception::begin_anew() {
  Speech speech = co_await listen_behind_headers();
  decide(speech);
  co_await act(std::move(speech));
}

// TLS.

awaitable<void> Interception::run_tls(sniff::ClientHello hello) {
  recorder_.set_sni(hello.sni);
  hello_names_no_protocol_ = hello.alpn.empty();
  const bool upgrades = recorder_.has_waiting();
  const UpstreamTls::Ask ask{recorder_.connection().server, hello.sni, offered_upstream(hello.alpn),
                             &hello, recorder_.host()};
  UpstreamTls::Attempt attempt{*services_.upstream, ask};
  std::string why = co_await services_.upstream->connect(server_, attempt, ask);
  if (attempt.facts()) recorder_.set_upstream_tls(attempt.facts());
  if (!why.empty()) {
    co_await refuse_tls(std::move(hello), std::move(why), attempt.alert());
    co_return;
  }
  if (program_left()) {
    report_tls_error("the program closed the connection before TLS with the server was agreed on");
    server_.shutdown_write(true);
    co_return;
  }
  const tls::X509Ptr certificate{SSL_get1_peer_certificate(server_.ssl())};
  const std::string alpn = selected_alpn(server_.ssl());
  const bool accepted = co_await accept_tls(hello, certificate.get(), alpn);
  hello = {};
  if (!accepted) co_return;
  agreed_ = Clock::now();
  if (upgrades) {
    co_await run_raw();
    // Some only look whether there is TLS (openssl s_client -starttls).
    services_.context.settings.learned->accepted(who(), recorder_.server_name(),
                                                 std::chrono::system_clock::now());
    co_return;
  }
  co_await converse_in_tls();
  judge_ending();
}

bool Interception::program_left() {
  constexpr std::size_t kEnough = 2 * sniff::kMaxSniffedBytes;  // whoever says more is there
  auto look = client_.look(services_.context.scratch, false);
  while (look.result.ok() && look.bytes.size() < kEnough)
    look = client_.look(services_.context.scratch, false);
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
  const IoResult done = co_await client_.handshake(kHandshake);
  if (!done.ok()) {
    report_tls_error(
        refused(refusal_of(client_, done),
                explain_refusal(client_, done, services_.context.settings.exec_ca_file)));
    server_.shutdown_write(true);
    co_return false;
  }
  SSL_set_app_data(client_.ssl(), nullptr);
  recorder_.set_tls(facts_of(client_.ssl()));
  co_return true;
}

awaitable<void> Interception::converse_in_tls() {
  const std::string alpn = selected_alpn(client_.ssl());
  Protocol protocol = is_http2(alpn) ? Protocol::http2 : Protocol::raw;
  if (alpn.starts_with("http/1")) protocol = Protocol::http1;
  if (alpn.empty()) {
    const Speech speech = co_await listen(false);
    protocol = speech.protocol;
    if (left_at_once()) {
      server_.shutdown_write(true);
      co_return;
    }
  }
  if (protocol == Protocol::http1) {
    co_await run_http("https");
  } else if (protocol == Protocol::http2) {
    co_await run_http2(nullptr);
  } else {
    co_await run_raw();
  }
}

void Interception::report_tls_error(std::string why) {
  auto flow = recorder_.begin_tcp(FlowRecorder::TcpKind::tls_error);
  flow->error = std::move(why);
  recorder_.publish_end(std::move(flow), Clock::now());
}

// PinningCache pass-through.

/// See the function of that name in program_tls.h.
bool Interception::left_at_once() const {
  return intercept::left_at_once(client_, server_, agreed_,
                                 services_.context.settings.learned->settings().at_once);
}

void Interception::learn_from_the_past(divert::Verdict& verdict, const Speech& speech) const {
  const bool by_host = verdict.rule < services_.policy->rules.size() &&
                       !services_.policy->rules[verdict.rule].hosts.empty();
  if (verdict.action != divert::Action::intercept || speech.protocol != Protocol::tls || by_host)
    return;
  std::string host = host_of(speech);
  if (host.empty()) host = recorder_.connection().server.address().to_string();
  auto why = services_.context.settings.learned->reason_to_pass(who(), host,
                                                                std::chrono::system_clock::now());
  if (why.empty()) return;
  verdict.action = divert::Action::pass;
  verdict.reason = std::move(why);
}

std::string Interception::refused(Refusal how, std::string why) const {
  auto& learned = *services_.context.settings.learned;
  const auto now = std::chrono::system_clock::now();
  if (how == Refusal::closed && hello_names_no_protocol_) how = Refusal::looked;
  const auto follows = learned.refused(who(), recorder_.server_name(), how, now);
  if (!follows.empty()) why.append("; ").append(follows);
  return why;
}

void Interception::judge_ending() {
  auto& learned = *services_.context.settings.learned;
  const auto now = std::chrono::system_clock::now();
  if (client_.heard()) return learned.accepted(who(), recorder_.server_name(), now);
  if (!left_at_once()) return;
  if (wants_no_encrypted_hello(client_)) {
    const std::string alpn = selected_alpn(client_.ssl());  // the other sessions have said so
    if (alpn.empty() || alpn == "h2") report_tls_error("the program: " + client_.failure());
    return;
  }
  if (!learned.trusts(who(), recorder_.server_name()))
    report_tls_error(refused(Refusal::closed, std::string{kLeftAtOnce}));
}

}  // namespace mitm::intercept
