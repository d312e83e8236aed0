// ProgramFilter and rules together: what happens to a connection.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/network.h"
#include "divert/policy/program_filter.h"
#include "procmap/attribution.h"

namespace divert {

enum class Action : std::uint8_t { pass, intercept, block };
std::string_view to_string(Action action);

/// One object of the config's `rules`. Every condition that is present must hold.
struct Rule {
  std::string name;  ///< for reasons: "rules[0]", "--pass"; empty: its place among the rules
  std::optional<ProgramFilter> process;
  std::vector<std::string>
      hosts;  ///< exact names, or *.example.org for every name below it; case-insensitive
  std::vector<base::PortRange> ports;
  std::vector<base::Network> networks;
  std::optional<std::string> user;  ///< login name or uid
  Action action = Action::intercept;
  /// Of what is intercepted: URL of the proxy that it goes through, or "direct"; none: as all. Only
  /// the worker knows what such a URL means.
  std::optional<std::string> upstream;
};

/// Selects what `osproxy exec` started, in place of the filter.
struct ExecScope {
  std::uint64_t cgroup_id = 0;  ///< 0: no cgroup v2, go by the process tree
  procmap::ProcessId root;
  std::uint32_t gid = 0;  ///< effective group of those processes (pf); 0: none of their own
};

/// What is asked about.
struct Subject {
  const procmap::Owner& owner;
  base::Endpoint destination;
};

/// A verdict that may still depend on the host name.
struct Verdict {
  /// A rule that holds but for its host: when the host matches, its action replaces the verdict's.
  struct ByHost {
    std::uint16_t rule = 0;  ///< index into Policy::rules
    Action action = Action::pass;
  };

  Action action = Action::pass;
  std::string reason;  ///< "filter curl", "not selected by the filter curl", "rules[1]", "osproxy
                       ///< itself", ...
  std::vector<ByHost> by_host;  ///< in the order of the rules; the first whose host matches wins
  static constexpr std::uint16_t kNoRule = 0xffff;
  std::uint16_t rule = kNoRule;  ///< index into Policy::rules of the one that decided
};

/// The rules in their order, then the filter. A rule without `process` applies only to programs
/// that the filter selects: it never draws other programs in. A rule with `process` applies to the
/// programs it names, selected or not.
class Policy {
 public:
  static constexpr std::size_t kMaxRules = 1004;         ///< 1000 of a file, and those of options
  static constexpr std::size_t kMaxConditions = 1000;    ///< hosts, ports or networks of one rule
  static constexpr std::size_t kMaxFilterItems = 10000;  ///< of the filter and all rules together

  ProgramFilter filter;
  std::vector<Rule> rules;
  std::optional<ExecScope> capture;
  std::string upstream;  ///< as in Rule, for all; empty: direct

  /// `own_pids` (broker, guard, worker) pass before anything else.
  [[nodiscard]] Verdict judge(const Subject& subject, std::span<const pid_t> own_pids) const;

  /// The verdict once the host name is known (SNI or Host; empty: the connection has none). Its
  /// by_host is empty.
  [[nodiscard]] Verdict settle(const Verdict& verdict, std::string_view host) const;

  /// Whether a connection with this verdict goes to its server without a proxy, whatever its host
  /// turns out to be.
  [[nodiscard]] bool goes_straight(const Verdict& verdict) const;

  /// Data only (CBOR-able: see ProgramFilter::to_json), for the way from the unprivileged loader to
  /// the broker. from_json refuses whatever to_json cannot have made, and more than the limits
  /// above; it throws nothing.
  [[nodiscard]] nlohmann::json to_json() const;
  [[nodiscard]] static base::Result<Policy> from_json(const nlohmann::json& data);
};

}  // namespace divert
