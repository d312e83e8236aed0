// Accept loops and the end of a run. Everything of a connection happens on the context that
// accepted it.
#include "divert/worker/worker.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "divert/link/context_heartbeat.h"
#include "divert/link/heartbeats.h"
#include "divert/link/wire.h"
#include "divert/worker/relay.h"

namespace divert {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
/// Without descriptors for more connections; they wait in the backlog meanwhile.
constexpr auto kAcceptPause = std::chrono::milliseconds{50};
/// Of a connection: without its pipes, which it can do without.
constexpr std::size_t kSocketsEach = 2;
/// Listeners, links, files, a few pipes.
constexpr std::size_t kOtherDescriptors = 64;
/// What connections that were told to end get before they are dropped.
constexpr auto kEndTimeout = std::chrono::milliseconds{500};
constexpr auto kEndPoll = std::chrono::milliseconds{5};
constexpr auto kTick = std::chrono::milliseconds{500};
constexpr auto kSweep = std::chrono::seconds{2};
constexpr std::string_view kEndedByUs = "osproxy ended";

}  // namespace

/// One thread's share: listeners, link and open connections.
class Worker::Context {
 public:
  Context(MessageSocket link, ListenerPair& listeners) : link_(io_, std::move(link)) {
    open_listener(tcp::v4(), listeners.v4);
    open_listener(tcp::v6(), listeners.v6);
  }

  asio::io_context& io() { return io_; }

  void start(Worker& worker, const Handlers& handlers) {
    worker_ = &worker;
    context_.emplace(WorkerContext{
        .broker = link_,
        .interceptor = handlers.interceptor,
        .watcher = handlers.watcher,
        .own = worker.own_,
        .upstreams = worker.upstreams_,
        .listeners = worker.setup_.listeners,
        .intercepted = worker.intercepted_,
        .open = worker.open_,
        .loop_seen =
            [&worker](const Connection& seen) {
              worker.send(wire::encode(wire::Control::loop, base::to_string(seen.client) + " to " +
                                                                base::to_string(seen.server)));
            },
        .has_descriptors = [&worker] { return worker.has_descriptors(); }});
    const auto obey = [this](wire::Message message) {
      std::visit([this](auto& order) { perform(std::move(order)); }, message);
    };
    asio::co_spawn(io_, link_.run(obey), asio::detached);
    for (auto& listener : acceptors_) asio::co_spawn(io_, accept(listener), asio::detached);
    asio::co_spawn(io_, tick(), asio::detached);
    asio::co_spawn(io_, beat(), asio::detached);
  }

  void stop_accepting() {
    boost::system::error_code ignored;
    for (auto& listener : acceptors_) listener.close(ignored);
  }

  /// Open connections are reset, on both sides; their flows are reported. Those that are still
  /// being decided or connected are when they are closed.
  void end_connections() {
    (void)link_.take_all();  // what programs did last
    context_->interceptor.end_all();
    reset_relays(kEndedByUs);
    for (const int socket : sockets_) reset_on_close(socket);
    context_->ending = true;
    for (const int socket : context_->dialing) ::shutdown(socket, SHUT_RDWR);
  }

 private:
  void perform(wire::Answer) {}  // BrokerLink gives it to the connection that asked
  void perform(wire::ConnectOrder order) {
    asio::co_spawn(io_, connect_ahead(std::move(order), *context_), asio::detached);
  }
  template <class Order>
  void perform(Order order) {
    show(std::move(order), *context_);
  }

  void open_listener(tcp protocol, base::UniqueFd& fd) {
    if (fd) acceptors_.emplace_back(io_, protocol, fd.release());
  }

  asio::awaitable<void> tick() {
    asio::steady_timer timer{io_};
    for (;;) {
      timer.expires_after(kTick);
      co_await timer.async_wait(kToken);
      context_->watcher.tick();
    }
  }

  asio::awaitable<void> beat() {
    asio::steady_timer timer{io_};
    ContextHeartbeat& heartbeat = heartbeat_of(io_);
    heartbeat.start([this] { link_.beat(); });
    for (;;) {
      heartbeat.beat();
      timer.expires_after(Heartbeats::kEvery);
      co_await timer.async_wait(kToken);
    }
  }

  asio::awaitable<void> accept(tcp::acceptor& listener) {
    asio::steady_timer pause{io_};
    while (listener.is_open()) {
      bool full = !worker_->has_descriptors();
      if (!full) {
        auto [error, socket] = co_await listener.async_accept(kToken);
        if (!error) asio::co_spawn(io_, keep(std::move(socket)), asio::detached);
        full = error && error != asio::error::operation_aborted &&
               error != asio::error::connection_aborted;
      }
      if (!full) continue;
      worker_->complain_of_shortage();
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kToken);
    }
  }

  asio::awaitable<void> keep(tcp::socket socket) {
    boost::system::error_code error;
    const int handle = socket.native_handle();
    // Whatever ends this process, half of what was under way must not look like all of it.
    reset_on_close(handle);
    Accepted accepted{std::move(socket), {}, {}};
    accepted.peer = accepted.socket.remote_endpoint(error);
    if (error) co_return;
    accepted.local = accepted.socket.local_endpoint(error);
    accepted.socket.non_blocking(true, error);
    accepted.socket.set_option(tcp::no_delay{true}, error);
    const auto entry = sockets_.insert(handle);
    worker_->open_.fetch_add(1, std::memory_order_relaxed);
    try {
      co_await carry(std::move(accepted), *context_);
    } catch (const std::exception&) {
      // Out of memory, or a library's surprise: this connection is lost, the others go on.
    }
    worker_->open_.fetch_sub(1, std::memory_order_relaxed);
    sockets_.erase(entry);
  }

  asio::io_context io_{1};
  BrokerLink link_;
  std::vector<tcp::acceptor> acceptors_;
  std::multiset<int> sockets_;
  std::optional<WorkerContext> context_;
  Worker* worker_ = nullptr;
};

Worker::Worker(WorkerSetup setup) : setup_(std::move(setup)) {
  for (std::size_t i = 0; i < setup_.links.size(); ++i) {
    contexts_.push_back(
        std::make_unique<Context>(std::move(setup_.links[i]), setup_.listeners.pairs[i]));
  }
}

Worker::~Worker() = default;

asio::io_context& Worker::context(std::size_t i) {
  return contexts_[i]->io();
}

void Worker::run(const std::vector<Handlers>& handlers, OnLog on_log, OnMessage on_intermediate) {
  on_log_ = std::move(on_log);
  for (std::size_t i = 0; i < contexts_.size(); ++i) contexts_[i]->start(*this, handlers[i]);
  asio::co_spawn(context(0), read_control(std::move(on_intermediate)), asio::detached);
  asio::co_spawn(context(0), sweep_upstreams(), asio::detached);
  send(wire::encode(wire::Control::ready));
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < contexts_.size(); ++i) {
    threads.emplace_back([this, i] {
      const auto work = asio::make_work_guard(context(i));
      context(i).run();
    });
  }
  context(0).run();
  for (auto& thread : threads) thread.join();
}

asio::awaitable<void> Worker::read_control(OnMessage on_intermediate) {
  asio::posix::stream_descriptor ready{context(0),
                                       ::fcntl(setup_.control.descriptor(), F_DUPFD_CLOEXEC, 0)};
  std::vector<char> buffer(wire::kMaxMessage);
  std::chrono::milliseconds grace{0};
  for (bool stopping = false; !stopping;) {
    const auto [error] =
        co_await ready.async_wait(asio::posix::stream_descriptor::wait_read, kToken);
    const ssize_t n = setup_.control.receive(buffer, MessageSocket::Wait::no);
    if (n < 0 && errno == EAGAIN) continue;
    if (error || n <= 0) break;
    const std::string_view text{buffer.data() + 1, static_cast<std::size_t>(n) - 1};
    switch (static_cast<wire::Control>(buffer[0])) {
      case wire::Control::log:
        if (const auto log = wire::decode_log(text)) on_log_(log->line, log->level);
        break;
      case wire::Control::intermediate:
        on_intermediate(text);
        break;
      case wire::Control::stop: {
        std::chrono::milliseconds::rep count = 0;
        std::from_chars(text.data(), text.data() + text.size(), count);
        grace = std::chrono::milliseconds{count};
        stopping = true;
        break;
      }
      default:
        break;
    }
  }
  co_await stop(grace);
}

bool Worker::has_descriptors() const {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return true;
  const auto connections = static_cast<std::size_t>(open_.load(std::memory_order_relaxed)) + 1;
  const std::size_t needed = connections * kSocketsEach + upstreams_.size() + kOtherDescriptors;
  return needed <= static_cast<std::size_t>(limit.rlim_cur);
}

void Worker::complain_of_shortage() {
  if (complained_.exchange(true)) return;
  asio::post(context(0), [this] {
    on_log_(
        fmt::format("there are no descriptors for more than {} connections at once: new ones wait "
                    "until others end; raise the limit (ulimit -Hn)",
                    open_.load()),
        base::LogLevel::warning);
  });
}

asio::awaitable<void> Worker::stop(std::chrono::milliseconds grace) {
  for (const auto& each : contexts_) asio::post(each->io(), [&each] { each->stop_accepting(); });
  asio::steady_timer timer{context(0)};
  const auto wait_until_zero = [](asio::steady_timer& clock, const std::atomic<int>& count,
                                  std::chrono::milliseconds limit) -> asio::awaitable<void> {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (count.load() > 0 && std::chrono::steady_clock::now() < deadline) {
      clock.expires_after(kEndPoll);
      co_await clock.async_wait(kToken);
    }
  };
  co_await wait_until_zero(timer, intercepted_, grace);
  ending_ = static_cast<int>(contexts_.size());
  for (const auto& each : contexts_) {
    asio::post(each->io(), [this, &each] {
      each->end_connections();
      --ending_;
    });
  }
  co_await wait_until_zero(timer, ending_, kEndTimeout);
  co_await wait_until_zero(timer, open_, kEndTimeout);
  for (const auto& each : contexts_) each->io().stop();
}

asio::awaitable<void> Worker::sweep_upstreams() {
  asio::steady_timer timer{context(0)};
  for (;;) {
    timer.expires_after(kSweep);
    co_await timer.async_wait(kToken);
    upstreams_.sweep(Upstreams::Clock::now());
  }
}

void Worker::send(std::string_view message) {
  const std::lock_guard lock{sending_};
  (void)setup_.control.send(message, MessageSocket::Wait::no);
}

void Worker::ask_to_end(std::string_view why) {
  send(wire::encode(wire::Control::quit, why));
}

void Worker::ask_for_intermediate() {
  send(wire::encode(wire::Control::renew));
}

}  // namespace divert
