// The broker's ends of the links to the worker's contexts: questions about accepted connections are
// answered, and what the packet engine wants of the worker is sent.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <sys/types.h>

#include "base/error.h"
#include "divert/broker/error_summary.h"
#include "divert/broker/program_socket.h"
#include "divert/broker/rule_loader.h"
#include "divert/link/heartbeats.h"
#include "divert/link/link_queue.h"
#include "divert/link/message_socket.h"
#include "divert/link/wire.h"
#include "divert/packet/owner_lookups.h"
#include "divert/packet/passed_programs.h"
#include "divert/packet/unknown_owners.h"
#include "divert/policy/policy.h"
#include "pfctl/natlook.h"

namespace divert {

/// Every question is answered from the kernel's tables within microseconds; nothing here waits for
/// the network or for the worker.
class WorkerLinks {
 public:
  using Clock = std::chrono::steady_clock;
  using Log = std::function<void(std::string_view)>;

  /// One socket per context of the worker. `policy` and `loader` must outlive it. `own_pids`: of
  /// our processes.
  WorkerLinks(std::vector<MessageSocket> sockets, const Policy& policy, std::vector<pid_t> own_pids,
              RuleLoader& loader, Log log);
  WorkerLinks(const WorkerLinks&) = delete;
  WorkerLinks& operator=(const WorkerLinks&) = delete;

  /// Errors: original destinations cannot be asked for.
  [[nodiscard]] base::Result<> open();
  /// Starts a thread.
  [[nodiscard]] base::Result<> start_lookups();
  void stop_lookups() { lookups_.reset(); }

  [[nodiscard]] std::size_t size() const { return links_.size(); }
  /// A context's socket and what it waits for.
  [[nodiscard]] int descriptor(std::size_t link) const { return links_[link].socket.descriptor(); }
  [[nodiscard]] short events(std::size_t link) const {
    return links_[link].wants_room() ? POLLOUT : POLLIN;
  }
  /// Readable when serve_lookups() has something to do; -1: none were started.
  [[nodiscard]] int lookups_descriptor() const { return lookups_ ? lookups_->descriptor() : -1; }

  /// Reads a few questions of one context, and sends what had to wait for it.
  void serve(std::size_t link);
  void serve_all();
  void serve_lookups();
  /// What the packet engine wants the worker to do or to know. `beat` is called now and then: a
  /// burst of it must not look like a broker that hangs.
  void serve_engine(const std::function<void()>& beat);

  /// To be called several times a second. False: too many lookups hang.
  [[nodiscard]] bool check_lookups();
  /// To be called several times a second. True: a context has given no sign of life for too long.
  [[nodiscard]] bool has_hanging_context();

  /// A connection was seen that is not passed on unseen.
  [[nodiscard]] bool has_seen_any() const { return seen_; }
  /// Names of programs that were not chosen, as far as connections of theirs were seen.
  [[nodiscard]] std::string passed_programs();
  /// What was counted since the start; empty ones among the lines.
  [[nodiscard]] std::vector<std::string> health_report();

 private:
  /// One context's questions. What does not fit into the socket waits here, and no further question
  /// is read until it has gone: so nothing is lost however many connections a context has under
  /// way.
  struct Link {
    MessageSocket socket;
    LinkQueue unsent;

    [[nodiscard]] bool wants_room() const { return !unsent.empty() || socket.pending(); }
  };

  void flush(std::size_t link);
  void flush_all();
  /// What a connection waits for.
  void send(std::size_t link, wire::Answer answer);
  /// What may be lost.
  void show(std::size_t link, std::string message);
  void receive(std::string_view message, std::size_t link);
  void answer(const Asking& asking, std::size_t link);
  void answer(OwnerLookups::Found found);
  std::optional<pfctl::OriginalTuple> original_of(const base::Endpoint& peer,
                                                  const base::Endpoint& local);
  /// Who the socket to the server must look like; empty: it may be any.
  std::optional<SocketMaker> maker_for(const Ruling& ruling) const;
  /// Null: none can be had now; the worker asks again.
  base::UniqueFd program_socket(const std::optional<SocketMaker>& maker, const FlowKey& key,
                                std::size_t link);
  void perform(const Effect& effect);
  void perform(const ConnectAhead& ahead);
  void perform(const Reply& reply);
  void notice(const Ruling& ruling) { seen_ = seen_ || !passes_unseen(ruling); }
  UnknownOwners& unknown_owners();

  std::vector<Link> links_;
  const Policy& policy_;
  std::vector<pid_t> own_pids_;
  RuleLoader& loader_;
  Log log_;
  std::vector<char> buffer_;
  std::optional<pfctl::Natlook> natlook_;
  std::unique_ptr<OwnerLookups> lookups_;
  Heartbeats heartbeats_;
  std::size_t next_link_ = 0;  ///< for what any context can do
  ErrorSummary errors_{kUnknownDestinations};
  ErrorSummary no_sockets_{kNoProgramSockets};
  bool seen_ = false;
  std::uint64_t unshown_ = 0;       ///< flows that a slow worker was not told of
  std::uint64_t unanswered_ = 0;    ///< questions of a worker that does not take the answers
  std::uint64_t not_in_time_ = 0;   ///< owners of accepted connections
  UnknownOwners unknown_owners_;    ///< of the redirect engine
  PassedPrograms passed_programs_;  ///< of the redirect engine
};

}  // namespace divert
