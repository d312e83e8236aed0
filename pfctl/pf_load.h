// Loading rules into pf. pfctl's exit code proves nothing: with two similar rules its optimizer
// empties the filter ruleset and exits with 0 (seen on FreeBSD 14). So the optimizer is switched
// off, and whatever was loaded is read back and compared with what was meant.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pfctl/pf_machine.h"
#include "pfctl/pf_status.h"

namespace pfctl {

inline constexpr const char* kPfConf = "/etc/pf.conf";

/// `pfctl -s PART` of the main ruleset or, with `anchor`, of that one. FreeBSD's -P prints ports as
/// numbers: names are read back as other ports (8080 is printed as http-alt, which is 591). macOS's
/// pfctl prints numbers and does not know -P.
std::vector<std::string> show_command(Dialect dialect, std::string_view part,
                                      std::string_view anchor = {});

/// What pf evaluates now: two listings in a row that are the same, for others may load in the
/// middle of one, which pfctl then cuts short, and ends with 0. Errors: pfctl's; it is changed all
/// the time.
[[nodiscard]] base::Result<MainRuleset> query_main(const Machine& machine);

/// Replaces what our anchor holds. Errors: pfctl's; what is read back is not what was meant: the
/// anchor then holds something else, and must be flushed.
[[nodiscard]] base::Result<> load_anchor(const Machine& machine, const std::string& text);

/// Whether such a listing lists nothing.
bool is_blank(std::string_view listing);

/// What our anchor holds, as pfctl prints it: translation, then filter rules; empty: nothing, or
/// there is no such anchor. Errors: pfctl could not be started; it cannot list the whole.
[[nodiscard]] base::Result<std::string> query_anchor(const Machine& machine);

enum class MainLoad : std::uint8_t {
  in_force,
  overtaken,  ///< others have loaded another one since, which is left alone
};

/// Replaces the translation and filter rules of the main ruleset (-N -R: options, tables and queues
/// of others stay as they are). `before` is what is in force. Errors: pfctl's; what is read back is
/// not `text`, but can come from it. In both cases `before` is in force again, or the error says
/// that it is not.
[[nodiscard]] base::Result<MainLoad> load_main(const Machine& machine, const std::string& text,
                                               const std::string& before, std::string_view what);

/// Whether two texts of main rulesets are the same to pfctl, which prints translation rules by
/// their kind.
bool is_same_main(std::string_view left, std::string_view right);

/// The first rule of the main ruleset that is no reference to our anchor; empty: none.
std::string first_of_others(const MainRuleset& main, std::string_view anchor);

/// `main` without a reference to our anchor among translation or filter rules that are the same as
/// in `loaded`: with `pfctl -R -f`, `-F nat` and the like others change one kind, and in the other
/// one the reference is still ours. One that refers to us with both is what others have loaded as a
/// whole.
std::string without_own_references(std::string_view main, std::string_view loaded,
                                   std::string_view anchor);

/// Whether the main ruleset can be written anew from what pfctl prints of it; the error says why
/// not. FreeBSD 15 prints nothing of a rule's `allow-related`, so that /etc/pf.conf is searched for
/// that word.
[[nodiscard]] base::Result<> can_rewrite(const MainRuleset& main, const Machine& machine);

/// Which lines have to be added to /etc/pf.conf by hand, so that pf evaluates our anchor.
std::string advice_on_reference(const Machine& machine);

}  // namespace pfctl
