// pf in its dialects, as text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "pfctl/ruleset.h"

namespace pfctl {

/// The pf of macOS, FreeBSD and OpenBSD have drifted apart.
enum class Dialect : std::uint8_t { darwin, freebsd, openbsd };

/// FreeBSD: label of the rules that bend connections to lo0. States carry their rule's, and are
/// found by it.
inline constexpr const char* kBentLabel = "osproxy";

/// Where our rules live: "com.apple/osproxy", which the stock main ruleset evaluates; else
/// "osproxy", which the main ruleset must refer to.
const char* anchor_of(Dialect dialect);

/// FreeBSD: a loopback interface of our own, which tells what was bent from what this machine
/// sends itself. (pf's tags are lost on lo0 since FreeBSD 14.) IPv4 only: pf takes all IPv6 of
/// loopback interfaces for lo0's.
inline constexpr const char* kLoopbackInterface = "lo28531";  // "lo", base::kOwnNumber
/// Whether the rules want it, up, before they are loaded.
bool needs_loopback_interface(const Ruleset& ruleset, Dialect dialect);

/// macOS, with loopback: the source ports that the worker's connections to this machine must have.
/// No ephemeral ones (from 49152 on): those are other programs'. pf's tags are lost on lo0, and
/// interfaces cannot be made. Empty: any will do.
std::optional<base::PortRange> own_source_ports(const Ruleset& ruleset, Dialect dialect);

/// What these rules do not do that a user may expect, a line each.
std::vector<std::string> cautions(const Ruleset& ruleset, Dialect dialect);

/// The anchor as text for `pfctl -a ANCHOR -f -`: what is loaded, and what `osproxy rules` prints.
/// Pure; `ruleset` must be validated. Errors: what the dialect cannot do (held packets but on
/// FreeBSD, cgroups, group numbers beyond its largest).
[[nodiscard]] base::Result<std::string> render_pf(const Ruleset& ruleset, Dialect dialect);

}  // namespace pfctl
