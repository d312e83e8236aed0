// What connections under interception share: the settings of a run, and the state of one
// io_context.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "mitm/dns/names.h"
#include "mitm/flow/bus.h"
#include "mitm/intercept/context/gate.h"
#include "mitm/intercept/context/memory.h"
#include "mitm/intercept/context/pinning_cache.h"
#include "mitm/intercept/context/quic_refusals.h"
#include "mitm/tls/client_certificate.h"
#include "mitm/tls/keylog.h"

namespace mitm::intercept {

/// Who gets a page, in HTTP, when TLS with the server fails. The others get an alert.
enum class ErrorPage : std::uint8_t { browsers, always, never };

/// How long the rest of a program's first bytes is waited for.
struct Patience {
  std::chrono::milliseconds begun{5000};    ///< of a hello or head that has begun
  std::chrono::milliseconds doubtful{300};  ///< of what no HTTP client begins with
};

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
  std::string exec_ca_file;  ///< what `exec` tells its command to trust; empty: it is not `exec`
  std::string root_ca_file;  ///< PEM file with osproxy's root certificate
  Patience patience{};
  std::size_t body_limit = 0;     ///< bytes of each body kept in memory, for the sinks
  std::size_t message_limit = 0;  ///< of each message of a WebSocket, an event stream, gRPC
  /// Bytes of each body that are published as they pass (flow::BodyPart), and of each direction of
  /// a raw connection (flow::TcpMessage), where a subscriber wants them.
  std::uint64_t part_limit = 0;
  bool hide_alt_svc = true;  ///< programs are not told of QUIC (RFC 7838)
  std::shared_ptr<dns::Names> names = std::make_shared<dns::Names>();  ///< shared by all engines
  std::shared_ptr<PinningCache> learned = std::make_shared<PinningCache>();        ///< likewise
  std::shared_ptr<MemoryBudget> memory = std::make_shared<MemoryBudget>();         ///< likewise
  std::shared_ptr<QuicRefusals> quic_refusals = std::make_shared<QuicRefusals>();  ///< likewise
  /// Has the broker send another intermediate (Engine::renew()); from any thread. Empty: there is
  /// nobody to ask.
  std::function<void()> ask_for_intermediate;
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
};

/// What all connections of one io_context share. `scratch` holds nothing from one resumption to the
/// next.
struct Context {
  const Settings& settings;
  flow::Bus& bus;
  std::span<char> scratch;
  MemoryAccount& memory;
  Gate& gate;
};

}  // namespace mitm::intercept
