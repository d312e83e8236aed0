// The unprivileged half: one single-threaded io_context per core, each with its own listeners and
// link to the broker.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/log_level.h"
#include "divert/worker/connection.h"
#include "divert/worker/listeners.h"
#include "divert/worker/pipeline.h"

namespace divert {

struct WorkerSetup {
  Listeners listeners;
  std::vector<MessageSocket> links;  ///< as many as listener pairs
  MessageSocket control;
};

/// What the next room brings for each context.
struct Handlers {
  Interceptor& interceptor;
  Watcher& watcher;
};

class Worker {
 public:
  explicit Worker(WorkerSetup setup);
  ~Worker();

  [[nodiscard]] std::size_t contexts() const { return contexts_.size(); }
  /// For handlers that belong to context `i`, and for what is to run on it (post).
  boost::asio::io_context& context(std::size_t i);

  using OnLog = std::function<void(std::string_view line, base::LogLevel level)>;
  using OnMessage = std::function<void(std::string_view)>;
  /// Accepts until the broker says stop or goes away. `handlers` has one entry per context.
  /// `on_log` and `on_intermediate` are called on context 0.
  void run(const std::vector<Handlers>& handlers, OnLog on_log, OnMessage on_intermediate);

  /// Messages to the broker; from any thread.
  void ask_to_end(std::string_view why);
  void ask_for_intermediate();

 private:
  class Context;

  /// Whether there are descriptors for one more connection.
  [[nodiscard]] bool has_descriptors() const;
  /// Once in a run. From any thread.
  void complain_of_shortage();
  boost::asio::awaitable<void> read_control(OnMessage on_intermediate);
  boost::asio::awaitable<void> stop(std::chrono::milliseconds grace);
  boost::asio::awaitable<void> sweep_upstreams();
  void send(std::string_view message);

  WorkerSetup setup_;
  std::mutex sending_;  ///< on control
  OwnConnections own_;
  Upstreams upstreams_;
  std::atomic<int> intercepted_{0};
  std::atomic<int> open_{0};
  std::atomic<int> ending_{
      0};  ///< contexts that have not told their connections yet that the run ends
  std::atomic<bool> complained_{false};
  OnLog on_log_;
  std::vector<std::unique_ptr<Context>> contexts_;
};

}  // namespace divert
