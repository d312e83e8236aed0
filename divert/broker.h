// The privileged half: owns the rules and answers the worker's questions. Parses nothing from the network.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"
#include "divert/capture.h"
#include "divert/guard.h"
#include "divert/policy.h"
#include "divert/terminal.h"
#include "pfctl/loader.h"
#include "pfctl/natlook.h"
#include "procmap/attribution.h"

namespace divert {

/// How a run ended.
struct Ending {
  int status = 0;     ///< exit status of osproxy: 0, 1, or CMD's (128+n for a signal)
  std::string error;  ///< printed as "osproxy: ..."; empty: none
};

struct BrokerSetup {
  Policy policy;
  pfctl::Ruleset rules;
  std::vector<base::UniqueFd> links;  ///< one SOCK_SEQPACKET end per context of the worker
  base::UniqueFd control;
  pid_t worker = 0;
  Guard guard;
  Cgroup cgroup;                   ///< of exec's CMD
  std::optional<Command> command;  ///< exec
  bool wait_for_descendants = false;
  std::string first_line;  ///< logged once the rules are in place
  /// PEM of an intermediate, key and certificate; asked at the start and whenever the worker says that it
  /// expires.
  std::function<base::Result<std::string>()> make_intermediate;
};

/// One thread, one poll loop. Blocks signals and reads them from a descriptor.
class Broker {
 public:
  explicit Broker(BrokerSetup setup);
  ~Broker();

  /// Until a signal, the end of CMD, or the death of the worker or the guard. The rules are gone when it
  /// returns.
  [[nodiscard]] Ending run();

 private:
  using Clock = std::chrono::steady_clock;

  /// One context's questions. An answer that does not fit into the socket waits here, and no further question
  /// is read until it has gone: so nothing is lost however many connections a context has under way.
  struct Link {
    base::UniqueFd socket;
    std::string unsent;
  };

  base::Result<> open();
  base::Result<> load();
  base::Result<> start_command();
  void loop();
  void serve(Link& link);
  std::string answer(std::string_view question);
  void read_control();
  void read_signals();
  void reap();
  void stop_diverting();
  void suspend();
  void command_ended(int status);
  void forward(int number) const;
  void send_intermediate();
  void log(std::string_view line) const;
  void end(Ending ending);
  void watch_descendants();
  void finish();
  [[nodiscard]] std::optional<int> wait_for_worker(Clock::duration limit);

  BrokerSetup setup_;
  std::optional<pfctl::LoadedRules> loaded_;
  std::optional<pfctl::Natlook> natlook_;
  std::optional<procmap::Attributor> attributor_;
  std::vector<pid_t> own_pids_;
  std::vector<Link> links_;
  base::UniqueFd signals_;
  Terminal terminal_;
  std::vector<char> buffer_;
  pid_t command_ = 0;  ///< 0: none, or ended
  bool had_command_ = false;
  int command_status_ = 0;  ///< CMD's, once it has ended
  bool ready_ = false;      ///< the worker accepts
  bool worker_gone_ = false;
  std::optional<Ending> ending_;
};

}  // namespace divert
