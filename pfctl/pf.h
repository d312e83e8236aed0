// pf in its dialects, as text.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "pfctl/ruleset.h"

namespace pfctl {

/// The pf of macOS, FreeBSD and OpenBSD have drifted apart.
enum class Dialect : std::uint8_t { darwin, freebsd, openbsd };

/// FreeBSD: label of the rules that bend connections to lo0. States carry their rule's, and are found by it.
inline constexpr const char* kBentLabel = "osproxy";

/// Where our rules live: "com.apple/osproxy", which the stock main ruleset evaluates; else "osproxy", which
/// the main ruleset must refer to.
const char* anchor_of(Dialect dialect);

/// The anchor as text for `pfctl -a ANCHOR -f -`: what is loaded, and what `osproxy rules` prints. Pure;
/// `ruleset` must be validated. Errors: what the dialect cannot do (held packets but on FreeBSD, cgroups,
/// group numbers beyond its largest).
[[nodiscard]] base::Result<std::string> render_pf(const Ruleset& ruleset, Dialect dialect);

}  // namespace pfctl
