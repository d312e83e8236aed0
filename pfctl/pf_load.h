// Loading rules into pf. pfctl's exit code proves nothing: with two similar rules its optimizer empties the
// filter ruleset and exits with 0 (seen on FreeBSD 14). So the optimizer is switched off, and whatever was
// loaded is read back and compared with what was meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pfctl/pf_plan.h"

namespace pfctl {

inline constexpr const char* kPfConf = "/etc/pf.conf";

/// `pfctl -s PART` of the main ruleset or, with `anchor`, of that one. FreeBSD's -P prints ports as numbers:
/// names are read back as other ports (8080 is printed as http-alt, which is 591). macOS's pfctl prints
/// numbers and does not know -P.
std::vector<std::string> show_command(Dialect dialect, std::string_view part, std::string_view anchor = {});

/// What pf evaluates now.
[[nodiscard]] base::Result<MainRuleset> query_main(const Machine& machine);

/// Replaces what our anchor holds. Errors: pfctl's; what is read back is not what was meant: the anchor then
/// holds something else, and must be flushed.
[[nodiscard]] base::Result<> load_anchor(const Machine& machine, const std::string& text);

/// What our anchor holds, as pfctl prints it: translation, then filter rules; empty: nothing, or there is no
/// such anchor. Error: pfctl could not be started.
[[nodiscard]] base::Result<std::string> query_anchor(const Machine& machine);

/// Replaces the translation and filter rules of the main ruleset (-N -R: options, tables and queues of others
/// stay as they are). `before` is what is in force. Errors: pfctl's; what is read back is not `text`. In both
/// cases `before` is in force again, or the error says that it is not.
[[nodiscard]] base::Result<> load_main(const Machine& machine, const std::string& text,
                                       const std::string& before, std::string_view what);

/// Why the main ruleset cannot be written anew from what pfctl prints of it; empty: it can. FreeBSD 15 prints
/// nothing of a rule's `allow-related`, so that /etc/pf.conf is searched for that word.
std::string cannot_rewrite(const MainRuleset& main, const Machine& machine);

/// Which lines have to be added to /etc/pf.conf by hand, so that pf evaluates our anchor.
std::string advice_on_reference(const Machine& machine);

}  // namespace pfctl
