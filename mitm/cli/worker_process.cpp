// Becomes the user for good, waits for the intermediate, then carries connections until the broker
// says stop.
#include "mitm/cli/worker_process.h"

#include <cerrno>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/subprocess.h"
#include "base/text.h"
#include "divert/link/wire.h"
#include "divert/process/confine.h"
#include "divert/process/signals.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/pinning_file.h"
#include "mitm/cli/session_output.h"
#include "mitm/cli/view_filter.h"
#include "mitm/control/rule_list.h"
#include "mitm/control/rules_gate.h"
#include "mitm/flow/bus.h"
#include "mitm/format/sinks.h"
#include "mitm/intercept/engine.h"
#include "mitm/tls/authority.h"
#include "mitm/trust/certificate_directories.h"
#include "mitm/trust/trust.h"

namespace mitm::cli {
namespace {

namespace asio = boost::asio;
using divert::Worker;

/// Beside the look before each leaf, so that one is there before it is needed.
constexpr auto kRenewCheck = std::chrono::hours{1};

void ignore_signals() {
  base::restore_signals();
  for (const int number :
       {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTOU, SIGPIPE, SIGUSR1, SIGUSR2}) {
    ::signal(number, SIG_IGN);
  }
}

bool wants_colour(Colour choice, int fd) {
  if (choice != Colour::automatic) return choice == Colour::always;
  return ::isatty(fd) == 1 && !std::getenv("NO_COLOR");
}

/// Bytes of each body that --view looks at.
std::size_t view_limit(const Settings& settings) {
  const auto filter = query::Filter::parse(settings.view);
  return filter ? bytes_looked_at(*filter) : 0;
}

/// Bytes of each body that are shown: what --bodies says, and what the text sink does.
std::size_t body_limit(const Settings& settings) {
  if (settings.format == Format::jsonl || settings.detail < 3) return settings.bodies;
  return std::max<std::size_t>(settings.bodies, settings.detail == 3 ? 4 << 10 : 1 << 20);
}

/// Bytes of each body, and of each message, that are kept in memory. Longer bodies reach a session
/// in parts.
std::uint64_t kept_of_bodies(const Settings& settings) {
  const std::uint64_t saved = settings.save.empty() ? 0 : settings.save_bodies;
  return std::max<std::uint64_t>(
      {body_limit(settings), view_limit(settings), std::min<std::uint64_t>(saved, 64 << 10)});
}
std::uint64_t kept_of_messages(const Settings& settings) {
  const std::uint64_t saved = settings.save.empty() ? 0 : settings.save_bodies;
  return std::max<std::uint64_t>(
      {body_limit(settings), view_limit(settings), std::min<std::uint64_t>(saved, 16 << 20)});
}

using Sinks = std::vector<std::unique_ptr<flow::Subscriber>>;

base::Result<Sinks> make_sinks(WorkerPlan& plan) {
  const Settings& settings = plan.prepared.settings;
  Sinks sinks;
  std::string name = "--output " + settings.output;
  base::UniqueFd out = std::move(plan.prepared.output);
  if (!out) {
    name = plan.to_stderr ? "standard error" : "standard output";
    out =
        base::UniqueFd{::fcntl(plan.to_stderr ? STDERR_FILENO : STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)};
  }
  auto log_sink = make_log_sink(out.get());
  if (settings.format == Format::jsonl) {
    sinks.push_back(format::make_jsonl_sink(
        std::move(out), name, {.bodies = settings.bodies > 0, .starts = settings.starts}));
  } else {
    const bool colour = wants_colour(settings.color, out.get());
    sinks.push_back(format::make_text_sink(std::move(out), name, {settings.detail, colour}));
  }
  // More is kept, for a session or for the filter, than was asked for here.
  if (!settings.save.empty() || view_limit(settings) > 0)
    sinks.back() = flow::with_limited_bodies(std::move(sinks.back()), body_limit(settings));
  if (!settings.view.empty()) {
    auto filter = query::Filter::parse(settings.view);
    if (!filter) return base::failure("--view: {}", filter.error().message());
    sinks.back() = with_view(std::move(sinks.back()), std::move(*filter));
  }
  sinks.push_back(std::move(log_sink));
  if (plan.prepared.pcap) {
    const std::string option = "--pcap " + settings.pcap;
    auto pcap = format::make_pcap_sink(std::move(plan.prepared.pcap), option);
    if (!pcap)
      return base::Error{fmt::format("{}: {}", option, pcap.error().text), pcap.error().os_code};
    sinks.push_back(std::move(*pcap));
  }
  return sinks;
}

/// Blocks until the broker has sent the first intermediate; empty when the broker has gone.
std::string receive_intermediate(divert::MessageSocket& control) {
  std::string buffer(divert::wire::kMaxMessage, '\0');
  const ssize_t n = control.receive(buffer, divert::MessageSocket::Wait::yes);
  if (n <= 1 || buffer[0] != static_cast<char>(divert::wire::Control::intermediate)) return {};
  return buffer.substr(1, static_cast<std::size_t>(n) - 1);
}

base::Result<std::shared_ptr<const tls::LeafSigner>> signer_from(std::string_view pem) {
  auto identity = tls::identity_from_pem(pem);
  if (!identity) return identity.error();
  return tls::LeafSigner::make(std::move(*identity));
}

std::shared_ptr<tls::Keylog> make_keylog(WorkerPlan& plan) {
  if (!plan.prepared.keylog) return nullptr;
  const auto report = [name =
                           "--keylog " + plan.prepared.settings.keylog](const base::Error& error) {
    const bool goes_on = error.os_code == EAGAIN;
    log_line(fmt::format("{}: {}{}", name, error.text,
                         goes_on ? "" : "; writing to it has stopped, interception goes on"),
             goes_on ? base::LogLevel::warning : base::LogLevel::error);
  };
  return std::make_shared<tls::Keylog>(std::move(plan.prepared.keylog), report);
}

/// "/usr/bin/curl (uid 1000) passes to example.org, unseen, from here on ..."
std::string pass_text(const intercept::PinningCache::Entry& entry) {
  const auto left =
      std::chrono::ceil<std::chrono::seconds>(entry.until - std::chrono::system_clock::now());
  return base::printable(fmt::format(
      "{} (uid {}) passes to {} from here on, undecrypted, for {}: it refused osproxy's "
      "certificate {} times ({}); osproxy learned lists and takes back such programs",
      entry.program, entry.uid, entry.host, intercept::in_words(left), entry.failures,
      to_string(entry.refusal)));
}

/// Everything that lives as long as the worker accepts.
class Process {
 public:
  Process(Worker& worker, flow::Bus& bus) : worker_(worker), bus_(bus) {}

  /// Before make_engines().
  void use(std::vector<control::Rule> rules) {
    if (!rules.empty()) rules_ = std::make_shared<control::Rules>(std::move(rules));
  }

  base::Result<> make_engines(WorkerPlan& plan, std::shared_ptr<const tls::LeafSigner> signer) {
    const Settings& settings = plan.prepared.settings;
    const auto policy = std::make_shared<const divert::Policy>(plan.prepared.policy);
    signer_ = std::move(signer);
    const auto names = std::make_shared<dns::Names>();
    const auto quic_refusals = std::make_shared<intercept::QuicRefusals>();
    const auto learned = std::make_shared<intercept::PinningCache>(intercept::PinningSettings{
        settings.passthrough_ttl, settings.passthrough_after, plan.ca_trusted});
    pinning_file_ =
        std::make_unique<PinningFileThread>(std::move(plan.prepared.pinning_file), learned);
    learned->on_change(pinning_file_->on_change());
    // Whatever the detail level: from here on there is something that is not shown.
    learned->on_pass([](const intercept::PinningCache::Entry& entry) {
      log_line(pass_text(entry), base::LogLevel::info);
    });
    auto client_certs = tls::ClientCertificates::make(plan.prepared.client_certs);
    if (!client_certs) return base::failure("client-certs{}", client_certs.error().text);
    const auto keylog = make_keylog(plan);
    memory_->on_first_drop([] {
      log_line(
          "connections hold most of the memory that they may: until they hold less, bodies and "
          "messages are not recorded; when it is used up, they are read more slowly, and "
          "header fields of HTTP/2 are not recorded");
    });
    for (std::size_t i = 0; i < worker_.contexts(); ++i) {
      auto engine = intercept::Engine::make(
          {.min_tls_version = settings.tls_min,
           .insecure = settings.insecure,
           .tls_ciphers = settings.tls_ciphers,
           .client_certificates = *client_certs,
           .keylog = keylog,
           .upstream_ca = plan.prepared.upstream_ca,
           .upstream_ca_only = !settings.upstream_ca_only.empty(),
           .error_page = settings.error_page,
           .exec_ca_file = plan.is_exec ? trust::bundle_path(settings.ca_dir) : "",
           .root_ca_file = settings.ca_dir + "/root-ca.pem",
           .body_limit = kept_of_bodies(settings),
           .message_limit = kept_of_messages(settings),
           .part_limit = settings.save_bodies,
           .hide_alt_svc = settings.block_quic,
           .names = names,
           .learned = learned,
           .memory = memory_,
           .quic_refusals = quic_refusals,
           .ask_for_intermediate = [this] { worker_.ask_for_intermediate(); }},
          policy, signer_, bus_, gate_for(worker_.context(i)));
      if (!engine) return engine.error();
      engines_.push_back(std::move(*engine));
    }
    return {};
  }

  /// See intercept::MemoryBudget.
  [[nodiscard]] std::uint64_t dropped_for_memory() const { return memory_->dropped(); }

  void run() {
    pinning_file_->start();
    std::vector<divert::Handlers> handlers;
    for (const auto& engine : engines_) handlers.push_back({*engine, *engine});
    asio::co_spawn(worker_.context(0), watch_intermediate(), asio::detached);
    for (std::size_t i = 0; i < engines_.size(); ++i)
      asio::co_spawn(worker_.context(i), prepare(*engines_[i], i == 0), asio::detached);
    worker_.run(handlers, log_line, [this](std::string_view pem) { renew(pem); });
  }

 private:
  intercept::Gate& gate_for(asio::io_context& context) {
    if (!rules_) return intercept::Gate::none();
    gates_.push_back(std::make_unique<control::RulesGate>(rules_, context.get_executor()));
    return *gates_.back();
  }

  asio::awaitable<void> watch_intermediate() {
    asio::steady_timer timer{worker_.context(0)};
    for (;;) {
      timer.expires_after(kRenewCheck);
      co_await timer.async_wait(asio::use_awaitable);
      if (tls::expires_within(signer_->intermediate().certificate.get(), tls::kRenewBefore))
        worker_.ask_for_intermediate();
    }
  }

  static asio::awaitable<void> prepare(intercept::Engine& engine, bool aloud) {
    const auto complaints = co_await engine.prepare();
    if (!aloud) co_return;
    for (const auto& line : complaints)
      log_line(line + "; it is looked for again with each connection");
  }

  void renew(std::string_view pem) {
    auto signer = signer_from(pem);
    if (!signer) return log_line(signer.error().text, base::LogLevel::error);
    signer_ = std::move(*signer);
    for (std::size_t i = 0; i < engines_.size(); ++i) {
      asio::post(worker_.context(i),
                 [engine = engines_[i].get(), signer = signer_] { engine->renew(signer); });
    }
  }

  Worker& worker_;
  flow::Bus& bus_;
  std::shared_ptr<const tls::LeafSigner> signer_;
  const std::shared_ptr<intercept::MemoryBudget> memory_ =
      std::make_shared<intercept::MemoryBudget>();
  std::shared_ptr<control::Rules> rules_;  ///< null: no message is changed
  std::vector<std::unique_ptr<control::RulesGate>> gates_;
  std::vector<std::unique_ptr<intercept::Engine>> engines_;
  std::unique_ptr<PinningFileThread> pinning_file_;
};

/// Whose sinks fail.
struct Run {
  Worker& worker;
  bool has_command;
};

/// A reader that closed our output (`osproxy | head`) is a wish to end; anything else is said once
/// and the run goes on.
void on_sink_error(void* context, const flow::Subscriber& sink, const base::Error& error) {
  auto& run = *static_cast<Run*>(context);
  if (error.os_code == EPIPE) {
    log_line(fmt::format("{} has no reader any more: interception ends{}", sink.name(),
                         run.has_command ? ", the command goes on without it" : ""),
             base::LogLevel::info);
    return run.worker.ask_to_end({});
  }
  log_line(fmt::format("{}: {}; recording to it has stopped, interception goes on", sink.name(),
                       error.text),
           base::LogLevel::error);
}

/// With the rights that the worker has: root's own files may be closed to it.
base::Result<std::vector<control::Rule>> compiled_rules(const control::RuleTexts& texts) {
  auto rules = control::compile(texts);
  if (!rules) return rules;
  if (const auto files = control::check_files(*rules); !files)
    return base::failure("rules: {}", files.error().text);
  return rules;
}

base::Result<> carry_connections(WorkerPlan plan) {
  const Settings& settings = plan.prepared.settings;
  base::Result<std::unique_ptr<flow::Subscriber>> recorder = nullptr;
  if (plan.typed_by_root) recorder = make_recorder(settings);
  if (const auto became = divert::become_worker(plan.user, plan.exempt_gid); !became)
    return became.error();
  if (!plan.typed_by_root) recorder = make_recorder(settings);
  if (!recorder) return recorder.error();
  const std::string pem = receive_intermediate(plan.sockets.control);
  if (pem.empty()) return {};
  auto signer = signer_from(pem);
  if (!signer) return signer.error();
  auto sinks = make_sinks(plan);
  if (!sinks) return sinks.error();
  if (*recorder) sinks->push_back(std::move(*recorder));
  Worker worker{std::move(plan.sockets)};
  Run run{worker, plan.to_stderr};
  flow::Bus bus{std::move(*sinks), on_sink_error, &run};
  const LogLinesOnBus log_lines{bus};  // gone before the bus is: lines of its end go by themselves
  Process process{worker, bus};
  auto rules = compiled_rules(plan.prepared.rules);
  if (!rules) return rules.error();
  auto readable = trust::certificate_directories();
  for (auto& directory : control::directories_read(*rules))
    readable.push_back(std::move(directory));
  process.use(std::move(*rules));
  if (auto made = process.make_engines(plan, std::move(*signer)); !made) return made.error();
  // Before the first thread, and before the first byte of a stranger's.
  if (const auto confined = divert::confine(readable); !confined) return confined.error();
  bus.start();
  process.run();
  if (bus.dropped() > 0)
    log_line(fmt::format("{} events were not recorded: the output was too slow", bus.dropped()));
  if (bus.stripped() > 0)
    log_line(fmt::format("--save: of {} events the bodies were not stored: the disk was too slow",
                         bus.stripped()));
  if (const auto dropped = process.dropped_for_memory(); dropped > 0)
    log_line(
        fmt::format("{} bodies, messages and heads were not "
                    "recorded: connections held the memory that they may",
                    dropped));
  return {};
}

}  // namespace

base::User worker_user(const base::User& typed_by) {
  if (typed_by.uid != 0) return typed_by;
  const auto nobody = base::user_named("nobody");
  return nobody ? *nobody : base::User{65534, 65534, "nobody", "/", ""};
}

int run_worker(WorkerPlan plan) {
  ignore_signals();
  log_without_waiting();
  const auto ended = carry_connections(std::move(plan));
  if (!ended) log_line(ended.error().text, base::LogLevel::error);
  flush_log();
  return ended ? 0 : 1;
}

}  // namespace mitm::cli
