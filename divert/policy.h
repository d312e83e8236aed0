// Filter and rules together: what happens to a connection.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/network.h"
#include "divert/filter.h"
#include "procmap/attribution.h"

namespace divert {

enum class Action : std::uint8_t { pass, intercept, block };
std::string_view to_string(Action action);

/// One object of the config's `rules`. Every condition that is present must hold.
struct Rule {
  std::optional<Filter> process;
  std::vector<std::string>
      hosts;  ///< exact names, or *.example.org for every name below it; case-insensitive
  std::vector<base::PortRange> ports;
  std::vector<base::Network> networks;
  std::optional<std::string> user;  ///< login name or uid
  Action action = Action::intercept;
};

/// Selects what `osproxy exec` started, in place of the filter.
struct Capture {
  std::uint64_t cgroup_id = 0;  ///< 0: no cgroup v2, go by the process tree
  procmap::ProcessId root;
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
  std::string reason;  ///< "filter curl", "not selected by the filter curl", "rule 2", "osproxy itself", ...
  std::vector<ByHost> by_host;  ///< in the order of the rules; the first whose host matches wins
};

/// The rules in their order, then the filter. A rule without `process` applies only to programs that the
/// filter selects: it never draws other programs in. A rule with `process` applies to the programs it names,
/// selected or not.
class Policy {
 public:
  static constexpr std::size_t kMaxRules = 1000;

  Filter filter;
  std::vector<Rule> rules;
  std::optional<Capture> capture;

  /// `own_pids` (broker, guard, worker) pass before anything else.
  [[nodiscard]] Verdict judge(const Subject& subject, std::span<const pid_t> own_pids) const;

  /// The verdict once the host name is known (SNI or Host; empty: the connection has none).
  [[nodiscard]] Verdict settle(const Verdict& verdict, std::string_view host) const;

  /// Data only (CBOR-able), for the way from the unprivileged reader to the broker. from_json refuses
  /// whatever to_json cannot have made, and more than kMaxRules rules.
  [[nodiscard]] nlohmann::json to_json() const;
  [[nodiscard]] static base::Result<Policy> from_json(const nlohmann::json& data);
};

/// Host pattern of a rule against a name; both without a trailing dot, case-insensitive.
bool host_matches(std::string_view pattern, std::string_view host);

}  // namespace divert
