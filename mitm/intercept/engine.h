// Interception of one connection: TLS on both sides, HTTP or raw inside, flows out.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "divert/connection.h"
#include "mitm/dns/names.h"
#include "mitm/flow/bus.h"
#include "mitm/intercept/learned.h"
#include "mitm/intercept/memory.h"
#include "mitm/intercept/quic_refusals.h"
#include "mitm/tls/client_certificate.h"
#include "mitm/tls/keylog.h"
#include "mitm/tls/leaf.h"

namespace mitm::intercept {

/// Who gets a page, in HTTP, when TLS with the server fails. The others get an alert.
enum class ErrorPage : std::uint8_t { browsers, always, never };

struct Settings {
  int min_tls_version = TLS1_2_VERSION;
  bool insecure = false;    ///< do not verify upstream certificates
  std::string tls_ciphers;  ///< offered upstream, as tls::offer_ciphers wants them; empty: the
                            ///< program's own
  std::shared_ptr<const tls::ClientCertificates> client_certificates =
      std::make_shared<tls::ClientCertificates>();
  std::shared_ptr<tls::Keylog> keylog;  ///< null: none
  std::string upstream_ca;              ///< PEM text: trusted beside the system's certificates
  bool upstream_ca_only = false;        ///< and not beside them but instead
  ErrorPage error_page = ErrorPage::browsers;
  std::string exec_ca_file;    ///< what `exec` tells its command to trust; empty: it is not `exec`
  std::size_t body_limit = 0;  ///< bytes of each body kept for the sinks
  bool hide_alt_svc = true;    ///< programs are not told of QUIC (RFC 7838)
  std::shared_ptr<dns::Names> names = std::make_shared<dns::Names>();  ///< shared by all engines
  std::shared_ptr<Learned> learned = std::make_shared<Learned>();      ///< likewise
  std::shared_ptr<MemoryBudget> memory = std::make_shared<MemoryBudget>();         ///< likewise
  std::shared_ptr<QuicRefusals> quic_refusals = std::make_shared<QuicRefusals>();  ///< likewise
  /// Has the broker send another intermediate (Engine::renew()); from any thread. Empty: there is
  /// nobody to ask.
  std::function<void()> ask_for_intermediate;
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
  bool flow_starts = true;  ///< publish start events (of flows that last)
};

/// One per io_context. Holds that context's leaf cache, upstream sessions and scratch buffers.
class Engine final : public divert::Interceptor, public divert::Watcher {
 public:
  [[nodiscard]] static base::Result<std::unique_ptr<Engine>> make(
      Settings settings, std::shared_ptr<const divert::Policy> policy,
      std::shared_ptr<const tls::LeafSigner> signer, flow::Bus& bus);
  ~Engine() override;

  boost::asio::awaitable<void> intercept(divert::Connection connection,
                                         boost::asio::ip::tcp::socket client,
                                         boost::asio::ip::tcp::socket server,
                                         divert::OpenStraight open) override;
  [[nodiscard]] divert::Way way(const divert::Verdict& verdict) const override;
  boost::asio::awaitable<boost::system::error_code> dial(
      divert::Connection connection, boost::asio::ip::tcp::socket& server) override;
  void end_all() override;
  void unreachable(const divert::Connection& connection,
                   const boost::system::error_code& error) override;
  void closed(const divert::Connection& connection, const divert::Outcome& outcome) override;
  void quic_refused(const divert::Connection& connection) override;
  void heard(const divert::Connection& connection, bool from_server, std::string_view payload,
             std::chrono::steady_clock::time_point came) override;
  void tick() override;

  /// To be run once, before or beside the first connections: asks where the upstream proxies are.
  /// Returns what the user should know.
  boost::asio::awaitable<std::vector<std::string>> prepare();

  /// A renewed intermediate. Called on the engine's own context.
  void renew(std::shared_ptr<const tls::LeafSigner> signer);

 private:
  class State;
  explicit Engine(std::unique_ptr<State> state);
  void tell_unanswered(std::chrono::steady_clock::duration patience);
  std::shared_ptr<State> state_;
};

}  // namespace mitm::intercept
