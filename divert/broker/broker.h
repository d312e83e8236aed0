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
#include "divert/broker/command_run.h"
#include "divert/broker/error_summary.h"
#include "divert/broker/foreign_rules_watch.h"
#include "divert/broker/guard.h"
#include "divert/link/heartbeats.h"
#include "divert/link/link_queue.h"
#include "divert/link/message_socket.h"
#include "divert/link/question.h"
#include "divert/link/wire.h"
#include "divert/packet/owner_lookups.h"
#include "divert/packet/packet_engine.h"
#include "divert/packet/passed_programs.h"
#include "divert/packet/unknown_owners.h"
#include "divert/policy/policy.h"
#include "divert/process/signals.h"
#include "pfctl/loader.h"
#include "pfctl/natlook.h"
#include "pfctl/rules_watch.h"

namespace divert {

/// How a run ended.
struct Ending {
  int status = 0;     ///< exit status of osproxy: 0, 1, or CMD's (128+n for a signal)
  std::string error;  ///< printed as "osproxy: ..."; empty: none
};

enum class EngineChoice : std::uint8_t { best, packet, redirect };

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
  /// What is logged once the rules are in place; `engine` says which one, and why.
  std::function<std::string(const pfctl::Ruleset& rules, std::string_view engine)> first_line;
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

  /// One context's questions. What does not fit into the socket waits here, and no further question
  /// is read until it has gone: so nothing is lost however many connections a context has under
  /// way.
  struct Link {
    MessageSocket socket;
    LinkQueue unsent;

    [[nodiscard]] bool wants_room() const { return !unsent.empty() || socket.pending(); }
  };

  base::Result<> open();
  base::Result<> hold_command();
  base::Result<std::string> choose_engine();
  base::Result<> start_packet_engine();
  [[nodiscard]] std::string without_dns() const;
  base::Result<> load();
  base::Result<pfctl::LoadedRules> load(const pfctl::Ruleset& rules);
  void unload();
  void watch_rules();
  void look_at_rules();
  base::Result<pfctl::ProbeResult> try_rules(bool ipv6);
  bool has_arrived(const base::Endpoint& to, Clock::duration limit);
  void release_command();
  void beat();
  void mind_worker();
  void loop();
  void serve(Link& link);
  void flush(Link& link);
  void send(Link& link, std::string message, base::UniqueFd with = {});
  void heard(std::string_view message, Link& link);
  void asked(const Asking& asking, Link& link);
  void serve_lookups();
  void answer(OwnerLookups::Found found);
  std::optional<pfctl::OriginalTuple> original_of(const base::Endpoint& peer,
                                                  const base::Endpoint& local);
  void serve_engine();
  void perform(const Effect& effect);
  void report_health();
  /// What goes to the worker about a connection, and by what it is to reach upstream.
  struct Message {
    std::string bytes;
    base::UniqueFd with;
  };
  Message message_about(const FlowKey& key, const Ruling& ruling, wire::Answer::Kind kind,
                        std::uint64_t id, const Link& link, std::uint64_t upstream = 0);
  [[nodiscard]] std::vector<std::string> start_watching_others();
  void watch_others();
  UnknownOwners& unknown_owners() { return engine_ ? engine_->unknown_owners() : unknown_owners_; }
  void notice(const Ruling& ruling);
  void read_control();
  void read_signals();
  void reap();
  void child_changed(pid_t pid, int status);
  void stop_diverting();
  base::Result<> divert_again();
  void suspend();
  void command_ended(int status);
  void send_intermediate();
  void log(std::string_view line);
  void fail(std::string_view what);
  void end(Ending ending);
  void finish();
  void wait_for_command();
  /// Until finish() has taken everything out.
  [[nodiscard]] bool is_intercepting() const { return setup_.target.has_value(); }
  [[nodiscard]] std::optional<int> wait_for_worker(Clock::duration limit);

  BrokerSetup setup_;
  std::optional<pfctl::LoadedRules> loaded_;
  std::optional<pfctl::RulesWatch> watch_;
  std::optional<ForeignRulesWatch> others_;
  std::vector<base::Endpoint> tried_;      ///< where connections went that tried the rules
  std::optional<base::Endpoint> arrived_;  ///< the one of them that came to our listener last
  ErrorSummary errors_{kUnknownDestinations};
  ErrorSummary no_sockets_{kNoProgramSockets};
  std::optional<pfctl::Natlook> natlook_;
  std::unique_ptr<OwnerLookups> lookups_;
  std::vector<pid_t> own_pids_;
  std::vector<Link> links_;
  Heartbeats heartbeats_;      ///< of the worker's contexts
  std::size_t next_link_ = 0;  ///< for what any context can do
  std::unique_ptr<PacketEngine> engine_;
  std::optional<Signals> signals_;
  CommandRun command_;
  std::vector<char> buffer_;
  bool ready_ = false;  ///< the worker accepts
  bool worker_gone_ = false;
  bool worker_hangs_ = false;
  bool seen_ = false;               ///< a connection that is not passed on unseen
  std::uint64_t unshown_ = 0;       ///< flows that a slow worker was not told of
  std::uint64_t unanswered_ = 0;    ///< questions of a worker that does not take the answers
  std::uint64_t not_in_time_ = 0;   ///< owners of accepted connections
  UnknownOwners unknown_owners_;    ///< of the redirect engine
  PassedPrograms passed_programs_;  ///< of the redirect engine
  std::string dns_tap_error_;       ///< why there are no copies of DNS; empty: there are
  std::string told_;                ///< the troubles, as they were told last
  Clock::time_point tell_due_;
  Clock::time_point intermediate_made_;
  std::optional<Ending> ending_;
};

}  // namespace divert
