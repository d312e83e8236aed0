// One intercepted connection from its first byte to its last.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "divert/policy/policy.h"
#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/session/http1_session.h"
#include "mitm/intercept/wire/channel.h"
#include "mitm/intercept/wire/dialer.h"
#include "mitm/intercept/wire/renewal.h"
#include "mitm/intercept/wire/upstream_tls.h"
#include "mitm/sniff/sniffer.h"
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
  Interception(Services& services, divert::Connection connection, Channel::Socket client,
               Channel::Socket server, divert::OpenStraight open);

  boost::asio::awaitable<void> run();

  /// Shows flows that have lasted and have not been shown.
  void show_slow_flows(std::chrono::steady_clock::time_point now) {
    recorder_.show_slow_flows(now);
  }

  /// Resets both sides; run() then returns soon, and the flows that were open say `why`.
  void end(std::string why);

 private:
  using Speech = sniff::SniffResult;

  /// What the first bytes on the channels say; raw when the server is first. `leave`: see
  /// Channel::look.
  boost::asio::awaitable<Speech> listen(bool leave);
  /// Likewise, behind the PROXY protocol headers that come before everything else; the bytes stay
  /// in the kernel.
  boost::asio::awaitable<Speech> listen_behind_headers();
  boost::asio::awaitable<bool> take_header(std::size_t size);
  boost::asio::awaitable<void> pass_headers_on();
  /// Listens and decides; connects to the server when nobody has yet. False: it could not be
  /// reached, and the program has been told.
  boost::asio::awaitable<bool> find_out(Speech& speech);
  void decide(const Speech& speech);
  [[nodiscard]] const std::string& host_of(const Speech& speech) const;
  boost::asio::awaitable<void> act(Speech speech);
  boost::asio::awaitable<bool> reach(const Speech& speech);
  boost::asio::awaitable<void> turn_away(sniff::SniffResult speech, std::string why);
  boost::asio::awaitable<void> wait_for_either(std::chrono::steady_clock::time_point limit);
  boost::asio::awaitable<void> converse(Speech speech);
  boost::asio::awaitable<void> run_tls(sniff::ClientHello hello);
  boost::asio::awaitable<void> converse_in_tls();
  boost::asio::awaitable<void> run_http(std::string_view scheme);
  boost::asio::awaitable<void> run_http2(std::shared_ptr<flow::HttpFlow> upgraded);
  boost::asio::awaitable<void> run_raw();
  boost::asio::awaitable<void> upgrade();
  boost::asio::awaitable<void> begin_anew();
  boost::asio::awaitable<void> pass();
  [[nodiscard]] bool may_be_selected() const;
  boost::asio::awaitable<bool> watch();
  void block();

  boost::asio::awaitable<bool> accept_tls(const sniff::ClientHello& hello, X509* upstream,
                                          std::string_view alpn);
  /// Whether there is nobody left to make TLS with. Reads what is there, and pushes it back.
  [[nodiscard]] bool program_left();
  /// Upstream TLS has failed: tells the program why with a page, if it is to have one and speaks
  /// HTTP, else with `alert`.
  boost::asio::awaitable<void> refuse_tls(sniff::ClientHello hello, std::string why,
                                          int alert = SSL_AD_HANDSHAKE_FAILURE);
  /// In which protocol the program is to be told; empty: in none.
  [[nodiscard]] std::string page_protocol(const sniff::ClientHello& hello) const;
  boost::asio::awaitable<bool> refuse_http(const std::string& why);
  boost::asio::awaitable<bool> refuse_http2(const std::string& why);
  boost::asio::awaitable<void> answer(std::shared_ptr<flow::HttpFlow> flow, const std::string& why,
                                      const std::string& page);
  void report_tls_error(std::string why);

  /// Passes when the program has refused us often enough, and no rule names the host.
  void learn_from_the_past(divert::Verdict& verdict, const Speech& speech) const;
  /// Counts a refusal; what follows from it goes behind `why`.
  [[nodiscard]] std::string refused(Refusal how, std::string why) const;
  /// Looks back at a connection whose TLS was agreed on.
  void judge_ending();
  [[nodiscard]] Who who() const { return recorder_.who(); }
  [[nodiscard]] bool left_at_once() const;

  Services& services_;
  const divert::Verdict judged_;  ///< before a host was known
  FlowRecorder recorder_;
  Channel client_;
  Channel server_;
  std::string proxy_headers_;      ///< that the program has sent, PROXY protocol
  std::size_t headers_shown_ = 0;  ///< bytes of them that sinks have been given
  divert::OpenStraight open_;      ///< until it is known how the server is reached
  std::string tunnel_host_;        ///< whom the program has an explicit proxy connect it to
  std::chrono::steady_clock::time_point agreed_;  ///< TLS with the program
  bool dialing_ = false;                          ///< the server, through a proxy or straight
  bool hello_names_no_protocol_ = false;          ///< the program's offers no ALPN
};

}  // namespace mitm::intercept
