// One intercepted connection from its first byte to its last.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "divert/policy/policy.h"
#include "mitm/intercept/error_responder.h"
#include "mitm/intercept/pinning_detector.h"
#include "mitm/intercept/session/raw_session.h"
#include "mitm/intercept/session/session.h"
#include "mitm/intercept/sniffer.h"
#include "mitm/intercept/upstream_connector.h"
#include "mitm/intercept/wire/renewal.h"
#include "mitm/intercept/wire/upstream_tls.h"
#include "mitm/tls/leaf.h"

namespace mitm::intercept {

/// What the engine lends to its connections.
struct Services {
  Context context;
  std::shared_ptr<const divert::Policy> policy;
  tls::LeafCache leaves;
  std::unique_ptr<UpstreamTls> upstream;
  std::unique_ptr<Dialer> dialer;
  Renewal renewal;
};

class Interception {
 public:
  /// `open`: see divert::Interceptor.
  /// `client` and `server` must outlive it.
  Interception(Services& services, divert::Connection connection, Transport& client,
               Transport& server, divert::OpenStraight open);

  boost::asio::awaitable<void> run();

  /// Shows flows that have lasted and have not been shown.
  void show_slow_flows(std::chrono::steady_clock::time_point now) {
    recorder_.show_slow_flows(now);
  }

  [[nodiscard]] const divert::Connection& connection() const { return recorder_.connection(); }
  /// Resets both sides; run() then returns soon, and the flows that were open say `why`.
  void end(std::string why);

 private:
  using Sniffed = sniff::SniffResult;

  // In the order of the README's list.
  boost::asio::awaitable<bool> sniff_and_connect(Sniffed& sniffed);
  void decide(const Sniffed& sniffed);
  boost::asio::awaitable<bool> connect_upstream(const Sniffed& sniffed);
  boost::asio::awaitable<void> apply_verdict(Sniffed& sniffed);
  boost::asio::awaitable<void> run_protocol(Sniffed& sniffed);
  boost::asio::awaitable<void> run_tls(sniff::ClientHello& hello);
  boost::asio::awaitable<bool> agree_on_tls(sniff::ClientHello& hello,
                                            std::optional<UpstreamTls::Attempt>& attempt);
  boost::asio::awaitable<bool> accept_tls(const sniff::ClientHello& hello, X509* upstream,
                                          std::string_view alpn);
  boost::asio::awaitable<std::unique_ptr<Session>> first_session_in_tls();
  boost::asio::awaitable<void> run_sessions(std::unique_ptr<Session> session);
  boost::asio::awaitable<void> sniff_again();
  boost::asio::awaitable<void> sniff_after_starttls();

  boost::asio::awaitable<void> pass();
  boost::asio::awaitable<bool> watch_starttls();
  void block();
  boost::asio::awaitable<void> reject(Sniffed sniffed, std::string why);
  boost::asio::awaitable<void> reject_tls(sniff::ClientHello hello, std::string why,
                                          int alert = SSL_AD_HANDSHAKE_FAILURE);
  void report_tls_error(std::string why);

  [[nodiscard]] std::unique_ptr<Session> session_for(sniff::Protocol protocol);
  [[nodiscard]] std::unique_ptr<Session> session_after(Next& next);
  [[nodiscard]] std::unique_ptr<Session> raw_session(RawSession::Kind kind);
  [[nodiscard]] const std::string& host_of(const Sniffed& sniffed) const;
  [[nodiscard]] bool may_be_selected() const;
  [[nodiscard]] bool is_plain() const;
  [[nodiscard]] bool program_left();

  Services& services_;
  const divert::Verdict judged_;  ///< before a host was known
  FlowRecorder recorder_;
  Side client_;
  Side server_;
  Sniffer sniffer_;
  UpstreamConnector connector_;
  PinningDetector pinning_;
  ErrorResponder responder_;
  std::string tunnel_host_;  ///< to which the program has an explicit proxy connect it
};

}  // namespace mitm::intercept
