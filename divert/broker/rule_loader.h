// Our rules in the packet filter and the engine that goes with them: chosen, loaded, tried, put out
// of use, kept in force.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/network.h"
#include "divert/broker/foreign_rules_watch.h"
#include "divert/link/question.h"
#include "divert/packet/packet_engine.h"
#include "divert/policy/policy.h"
#include "pfctl/loader.h"
#include "pfctl/rules_watch.h"

namespace divert {

enum class EngineChoice : std::uint8_t { best, packet, redirect };

struct RuleLoaderSetup {
  pfctl::Ruleset rules;          ///< without queueing; ports: those of the redirect engine
  pfctl::RedirectTarget target;  ///< where they lead
  EngineChoice engine = EngineChoice::best;
  std::vector<base::PortRange> packet_ports{};  ///< of the packet engine; empty: every port
  std::uint32_t mark_bit = 0;                   ///< of the packet engine; 0: the usual one
  unsigned queues = 1;
  bool block_quic = true;
  bool copy_dns = true;
  bool watch = true;  ///< notices what others change
  std::vector<pid_t> own_pids{};
};

/// What the loader's owner does meanwhile.
struct RuleLoaderHooks {
  /// Around what may take longer than heartbeats allow.
  std::function<void()> pause = [] {};
  std::function<void()> resume = [] {};
  /// A line for the user.
  std::function<void(std::string_view)> log = [](std::string_view) {};
  /// Reads what the worker asks, and calls is_probe() for it. Empty: rules are not tried.
  std::function<void()> serve{};
};

struct StartedEngine {
  std::string_view name;           ///< "packet" or "redirect"
  std::vector<std::string> notes;  ///< what it goes without, and why it is not the better one
};

class RuleLoader {
 public:
  /// `policy` must outlive it.
  RuleLoader(RuleLoaderSetup setup, const Policy& policy, RuleLoaderHooks hooks);
  RuleLoader(const RuleLoader&) = delete;
  RuleLoader& operator=(const RuleLoader&) = delete;

  /// Loads the rules of the best engine that this machine has, or of the one that was asked for.
  /// From here on there may be threads: no fork(2).
  [[nodiscard]] base::Result<StartedEngine> start();

  /// Takes the rules out; the engine stays.
  void unload();
  /// New connections go their own way. When the kernel refuses the small change the whole table
  /// goes: better cut connections than lost ones.
  void stop_diverting();
  [[nodiscard]] base::Result<> divert_again();
  /// The end: rules, engine and target go.
  void close();

  /// As they are loaded, or were loaded last.
  [[nodiscard]] const pfctl::Ruleset& rules() const { return rules_; }
  [[nodiscard]] bool is_loaded() const { return loaded_.has_value(); }
  /// Until close().
  [[nodiscard]] bool is_open() const { return target_.has_value(); }
  [[nodiscard]] ListeningAt listening() const;
  /// Null: the redirect engine, or none yet.
  [[nodiscard]] PacketEngine* engine() { return engine_.get(); }

  /// Whether a connection to `destination` has come to try the rules; that it has come is noted.
  bool is_probe(const base::Endpoint& destination);

  /// Readable when others have changed what the rules need; -1: nothing is watched.
  [[nodiscard]] int watch_descriptor() const { return watch_ ? watch_->descriptor() : -1; }
  void look_at_changes();
  void stop_watching() { watch_.reset(); }
  /// What conflicts with the rules from the beginning.
  [[nodiscard]] std::vector<std::string> watch_others();
  /// To be called several times a second. Error: the rules were lost and cannot be loaded again.
  [[nodiscard]] base::Result<> check_others();

 private:
  using Clock = std::chrono::steady_clock;

  base::Result<> start_packet_engine();
  base::Result<> load_held(pfctl::Queueing queueing, const std::vector<std::uint16_t>& groups);
  [[nodiscard]] std::vector<std::string> without_dns() const;
  base::Result<> load();
  base::Result<pfctl::LoadedRules> load(const pfctl::Ruleset& rules);
  void start_watch();
  base::Result<pfctl::ProbeResult> probe(bool ipv6);
  bool has_arrived(const base::Endpoint& to, Clock::duration limit);

  RuleLoaderSetup setup_;
  const Policy& policy_;
  RuleLoaderHooks hooks_;
  pfctl::Ruleset rules_;
  std::optional<pfctl::RedirectTarget> target_;
  std::unique_ptr<PacketEngine> engine_;
  std::optional<pfctl::LoadedRules> loaded_;  ///< goes before the engine and the target
  std::optional<pfctl::RulesWatch> watch_;
  std::optional<ForeignRulesWatch> others_;
  std::vector<base::Endpoint> tried_;      ///< where connections went that tried the rules
  std::optional<base::Endpoint> arrived_;  ///< the one of them that came to our listener last
  std::string dns_tap_error_;              ///< why DNS is not copied; empty: it is
};

}  // namespace divert
