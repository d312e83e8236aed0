// The privileged half: owns the rules and answers the worker's questions. Parses nothing from the
// network.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log_level.h"
#include "divert/broker/command_run.h"
#include "divert/broker/guard.h"
#include "divert/broker/rule_loader.h"
#include "divert/broker/worker_links.h"
#include "divert/link/message_socket.h"
#include "divert/policy/policy.h"
#include "divert/process/signals.h"
#include "pfctl/loader.h"

namespace divert {

/// How a run ended.
struct Ending {
  int status = 0;     ///< exit status of osproxy: 0, 1, or CMD's (128+n for a signal)
  std::string error;  ///< printed as "osproxy: ..."; empty: none
};

struct BrokerSetup {
  Policy policy;
  pfctl::Ruleset rules;  ///< without queueing; ports: those of the redirect engine
  std::optional<pfctl::RedirectTarget> target;  ///< where they lead
  EngineChoice engine = EngineChoice::best;
  std::vector<base::PortRange> packet_ports;  ///< of the packet engine; empty: every port
  std::uint32_t mark_bit = 0;                 ///< of the packet engine
  bool block_quic = true;
  std::vector<MessageSocket> links;  ///< one per context of the worker
  MessageSocket control;
  pid_t worker = 0;
  Guard guard;
  std::optional<Command> command;  ///< exec
  bool wait_for_descendants = false;
  /// What is logged once the rules are in place. `engine`: "packet" or "redirect"; `notes`: what is
  /// less than usual.
  std::function<std::string(const pfctl::Ruleset& rules, std::string_view engine,
                            const std::vector<std::string>& notes)>
      first_line;
  /// What is logged at the end of a run that has seen no connection but of programs that were not
  /// chosen, some of whose names are `others`.
  std::function<std::string(const pfctl::Ruleset& rules, std::string_view others)> nothing_seen;
  /// PEM of an intermediate, key and certificate; asked at the start and whenever the worker says
  /// that it expires.
  std::function<base::Result<std::string>()> make_intermediate;
  /// A line for the user when there is no worker any more to write it. Must not block.
  std::function<void(std::string_view)> say;
};

/// One thread, one poll loop. Signals are read from a descriptor.
class Broker {
 public:
  explicit Broker(BrokerSetup setup);
  ~Broker();

  /// Until a signal, the end of CMD, or the death of the worker or the guard. The rules are gone
  /// when it returns. A CMD that still runs when interception has ended is waited for.
  [[nodiscard]] Ending run();

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] RuleLoaderSetup loader_setup();
  [[nodiscard]] RuleLoaderHooks loader_hooks();
  base::Result<> open();
  void wait_for_ready_worker();
  base::Result<> hold_command();
  base::Result<> start_rules();
  void release_command();
  void beat();
  void check_worker();
  void check_everything();
  void loop();
  void serve_engine();
  void report_health();
  void read_control();
  void loop_was_seen(std::string_view which);
  void read_signals();
  void reap();
  void child_changed(pid_t pid, int status);
  void suspend();
  void command_ended(int status);
  void send_intermediate();
  /// By way of the worker, whose log lines are events; straight to `say` when it does not take it.
  void log(std::string_view line, base::LogLevel level = base::LogLevel::warning);
  void fail(std::string_view what);
  void end(Ending ending);
  void finish();
  void end_worker();
  void wait_for_command();
  [[nodiscard]] std::optional<int> wait_for_worker(Clock::duration limit);

  BrokerSetup setup_;
  RuleLoader loader_;
  WorkerLinks links_;
  std::optional<Signals> signals_;
  CommandRun command_;
  std::vector<char> buffer_;
  bool ready_ = false;  ///< the worker accepts
  bool worker_gone_ = false;
  bool worker_hangs_ = false;
  std::string health_;  ///< as it was reported last
  Clock::time_point report_due_;
  Clock::time_point intermediate_made_;
  std::optional<Ending> ending_;
};

}  // namespace divert
