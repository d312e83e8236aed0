// The interceptor of one io_context: holds what its connections share and catches what a library
// throws.
#include "mitm/intercept/engine.h"

#include <exception>
#include <unordered_set>
#include <utility>

#include "mitm/dns/watch.h"
#include "mitm/intercept/interception.h"
#include "mitm/intercept/wire/tcp_stream.h"

namespace mitm::intercept {
namespace {

constexpr std::size_t kScratch = 128 << 10;

/// Known to end_all() for as long as it lives.
class OpenEntry {
 public:
  OpenEntry(std::unordered_set<Interception*>& open, Interception& interception)
      : open_(open), interception_(interception) {
    open_.insert(&interception_);
  }
  OpenEntry(const OpenEntry&) = delete;
  OpenEntry& operator=(const OpenEntry&) = delete;
  ~OpenEntry() { open_.erase(&interception_); }

 private:
  std::unordered_set<Interception*>& open_;
  Interception& interception_;
};

/// A connection that is being made through a proxy ahead of its program, for as long as that lasts.
class Dialing {
 public:
  Dialing(std::unordered_set<Dialing*>& all, divert::Connection given)
      : connection(std::move(given)), all_(all) {
    all_.insert(this);
  }
  Dialing(const Dialing&) = delete;
  Dialing& operator=(const Dialing&) = delete;
  ~Dialing() { all_.erase(this); }

  divert::Connection connection;
  bool reported = false;  ///< its flow has been published

 private:
  std::unordered_set<Dialing*>& all_;
};

}  // namespace

class Engine::State {
 public:
  State(Settings given, std::shared_ptr<const divert::Policy> policy,
        std::shared_ptr<const tls::LeafSigner> signer, std::unique_ptr<UpstreamTls> upstream,
        std::unique_ptr<Dialer> dialer, flow::Bus& bus, Gate& gate)
      : settings(std::move(given)),
        scratch(kScratch),
        memory(settings.memory),
        dns(settings.names),
        services{{settings, bus, scratch, memory, gate},
                 std::move(policy),
                 tls::LeafCache{std::move(signer),
                                {.min_version = settings.min_tls_version,
                                 .keylog = settings.keylog,
                                 .now = settings.now}},
                 std::move(upstream),
                 std::move(dialer),
                 Renewal{settings.ask_for_intermediate}} {}

  Settings settings;
  std::vector<char> scratch;
  MemoryAccount memory;
  dns::Watch dns;
  Services services;
  std::unordered_set<Interception*> open;
  std::unordered_set<Dialing*> dialing;
};

base::Result<std::unique_ptr<Engine>> Engine::make(Settings settings,
                                                   std::shared_ptr<const divert::Policy> policy,
                                                   std::shared_ptr<const tls::LeafSigner> signer,
                                                   flow::Bus& bus, Gate& gate) {
  auto upstream = UpstreamTls::make(settings);
  if (!upstream) return upstream.error();
  auto dialer = Dialer::make(*policy, **upstream);
  if (!dialer) return dialer.error();
  auto state = std::make_unique<State>(std::move(settings), std::move(policy), std::move(signer),
                                       std::move(*upstream), std::move(*dialer), bus, gate);
  return std::unique_ptr<Engine>{new Engine(std::move(state))};
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::~Engine() = default;

boost::asio::awaitable<void> Engine::intercept(divert::Connection connection,
                                               boost::asio::ip::tcp::socket client,
                                               boost::asio::ip::tcp::socket server,
                                               divert::OpenStraight open) {
  TcpStream program{std::move(client)}, origin{std::move(server)};
  co_await intercept(std::move(connection), program, origin, std::move(open));
}

boost::asio::awaitable<void> Engine::intercept(divert::Connection connection, Transport& client,
                                               Transport& server, divert::OpenStraight open) {
  // A run that ends destroys engines before what still hangs in their io_contexts.
  const std::shared_ptr<State> state = state_;
  Interception interception{state->services, std::move(connection), client, server,
                            std::move(open)};
  const OpenEntry entry{state->open, interception};
  try {
    co_await interception.run();
  } catch (const std::exception& error) {
    closed(interception.connection(), {0, 0, error.what()});
  }
}

divert::Way Engine::way(const divert::Verdict& verdict) const {
  return state_->services.dialer->way(verdict);
}

boost::asio::awaitable<boost::system::error_code> Engine::dial(
    divert::Connection connection, boost::asio::ip::tcp::socket& server) {
  const std::shared_ptr<State> state = state_;
  const divert::Verdict verdict = connection.verdict;
  if (const auto* proxy = state->services.dialer->proxy_for(verdict))
    connection.verdict.reason += "; through " + proxy->label();
  const base::Endpoint to = connection.server;
  Dialing dialing{state->dialing, std::move(connection)};
  const divert::OpenStraight not_needed;
  DialFailure failure = co_await state->services.dialer->dial(
      state->services.context, verdict, to, std::string_view{}, server, not_needed);
  if (failure.why.empty()) co_return boost::system::error_code{};
  if (!dialing.reported) closed(dialing.connection, {0, 0, std::move(failure.why)});
  co_return boost::system::error_code{failure.error, boost::system::system_category()};
}

void Engine::end_all() {
  for (Interception* interception : state_->open) interception->end("osproxy ended");
  for (Dialing* dialing : state_->dialing) {
    if (std::exchange(dialing->reported, true)) continue;
    closed(dialing->connection,
           {0, 0, state_->services.dialer->still_waiting(dialing->connection.verdict)});
  }
  tell_unanswered(std::chrono::steady_clock::now(), {});
}

/// Questions to name servers that have waited for `patience`.
void Engine::tell_unanswered(std::chrono::steady_clock::time_point now,
                             std::chrono::steady_clock::duration patience) {
  for (auto& flow : state_->dns.expired(now, patience))
    state_->services.context.bus.publish(flow::DnsEnd{std::move(flow)});
}

void Engine::unreachable(const divert::Connection& connection,
                         const boost::system::error_code& error) {
  closed(connection, {0, 0,
                      fmt::format("cannot connect to {}: {}", base::to_string(connection.server),
                                  error.message())});
}

void Engine::closed(const divert::Connection& connection, const divert::Outcome& outcome) {
  using Kind = FlowRecorder::TcpKind;
  const auto kind = connection.verdict.action == divert::Action::block  ? Kind::block
                    : connection.verdict.action == divert::Action::pass ? Kind::pass
                                                                        : Kind::tcp;
  FlowRecorder recorder{state_->services.context, connection};
  auto flow = recorder.begin_tcp(kind);
  flow->began = connection.opened;
  if (outcome.counted) {
    flow->request_bytes = outcome.request_bytes;
    flow->response_bytes = outcome.response_bytes;
  }
  flow->error = outcome.error;
  const auto lasted = std::chrono::system_clock::now() - connection.opened;
  recorder.publish_end(std::move(flow), std::chrono::steady_clock::now() - lasted);
}

void Engine::quic_refused(const divert::Connection& connection) {
  divert::Connection refused = connection;
  refused.verdict.action = divert::Action::block;
  refused.verdict.reason = "QUIC is refused: the program falls back to TCP";
  FlowRecorder recorder{state_->services.context, std::move(refused)};
  auto flow = recorder.begin_tcp(FlowRecorder::TcpKind::block);
  const std::string host =
      flow->host.empty() ? connection.server.address().to_string() : flow->host;
  if (!state_->settings.quic_refusals->is_first(recorder.who(), host)) return;
  flow->began = connection.opened;
  recorder.publish_end(std::move(flow), std::chrono::steady_clock::now());
}

void Engine::on_dns_datagram(const divert::Connection& connection, bool from_server,
                             std::string_view payload, std::chrono::steady_clock::time_point came) {
  FlowRecorder recorder{state_->services.context, connection};
  auto flow = state_->dns.on_message(connection, from_server, payload, came,
                                     [&] { return recorder.begin_dns(); });
  if (flow) state_->services.context.bus.publish(flow::DnsEnd{std::move(flow)});
}

void Engine::tick() {
  tick(std::chrono::steady_clock::now());
}

void Engine::tick(std::chrono::steady_clock::time_point now) {
  for (Interception* interception : state_->open) interception->show_slow_flows(now);
  tell_unanswered(now, dns::Watch::kAnswerTimeout);
}

boost::asio::awaitable<std::vector<std::string>> Engine::prepare() {
  return state_->services.dialer->prepare();
}

void Engine::renew(std::shared_ptr<const tls::LeafSigner> signer) {
  state_->services.leaves.renew(std::move(signer));
}

}  // namespace mitm::intercept
