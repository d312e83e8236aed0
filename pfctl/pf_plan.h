// The steps that make a machine's pf divert to us, planned from what was found on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/network.h"
#include "pfctl/pf.h"
#include "pfctl/pf_query.h"

namespace pfctl {

/// Addresses of lo0 that the listeners are bound to; unspecified: not wanted.
struct Loopback {
  base::Address v4 = boost::asio::ip::address_v4();
  base::Address v6 = boost::asio::ip::address_v6();

  bool operator==(const Loopback&) const = default;
};

struct Step {
  enum class Kind : std::uint8_t {
    load_module,      ///< value: its name
    add_alias,        ///< an address for lo0
    set_mtu,          ///< of lo0 to the largest; the one it has
    create_loopback,  ///< an interface that the rules name
    load_anchor,      ///< the rules as text
    refer_anchor,     ///< empty: the running main ruleset, with references to our anchor in front
    flush_states,     ///< empty: all of pf's states, while it is disabled
    enable,           ///< empty
  };

  Kind kind = Kind::load_anchor;
  std::string value;

  bool operator==(const Step&) const = default;
};

struct Preparation {
  Loopback loopback;
  std::vector<Step> steps;
};

/// `preferred`, or another address where an interface or route covers it (198.18.0.0/15 is where
/// sing-box, mihomo and Surge put names' fake addresses as well). An address that lo0 has already
/// is taken as it is. Error: all candidates are covered.
[[nodiscard]] base::Result<Preparation> plan_preparation(const Status& status,
                                                         const Loopback& preferred);

/// What the user can do when pf skips lo0. We change nothing there.
std::string advice_on_skipping(Dialect dialect);

/// FreeBSD: whether an anchor with this text holds first packets (divert(4)) until their verdict.
bool holds_packets(std::string_view text);

/// FreeBSD: the rule of others that our anchor, which contains `text`, must stand in front of and
/// does not; empty: none. Where the main ruleset cannot be written anew only an anchor that holds
/// packets has one: any other works behind other rules, but for what they decide.
std::string rival_of(const Status& status, const Machine& machine, std::string_view text);

/// Whether first packets may be held with this main ruleset, if `text` does that. The error says
/// why not: the user's own rules would lose their say, or connections their way.
[[nodiscard]] base::Result<> can_hold(const Status& status, const Machine& machine,
                                      std::string_view text);

/// `text`: the anchor. Errors: pf skips lo0; FreeBSD: pf is disabled and would, enabled, put rules
/// of others in force; packets cannot be held (can_hold); the main ruleset has to be written
/// anew and cannot be.
[[nodiscard]] base::Result<std::vector<Step>> plan_loading(const Status& status,
                                                           const Machine& machine,
                                                           std::string text);

/// What load() puts in place, and how that is tried.
struct RulesetVariants {
  enum class Proof : std::uint8_t { none, ipv4, ipv6 };

  std::string text;  ///< render_pf
  /// The family whose connections come to the listeners by themselves, so that one can show whether
  /// the rules are in force; none: all are held for a verdict.
  Proof proof = Proof::none;
  /// The same with IPv6 refused, for when only IPv6 does not arrive; empty: IPv6 is not diverted,
  /// or alone.
  std::string without_ipv6;
};

/// Errors: render_pf's.
[[nodiscard]] base::Result<RulesetVariants> offer_of(const Ruleset& ruleset, Dialect dialect);

}  // namespace pfctl
