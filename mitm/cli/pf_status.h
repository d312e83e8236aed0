// What pfctl(8) says about the packet filter.
#pragma once

#include <string>
#include <string_view>

namespace mitm::cli {

/// `pfctl -s info`: its line "Status: Enabled for ..." says yes.
bool pf_enabled(std::string_view info);

/// `pfctl -s rules`, `pfctl -s nat`: a line that has the rules of `anchor` evaluated, by its name or by a
/// wildcard above it: `anchor "com.apple/*" all`, `rdr-anchor "osproxy" all`.
bool refers_to_anchor(std::string_view rules, std::string_view keyword, std::string_view anchor);

/// `pfctl -v -s Interfaces`: pf leaves everything alone on `interface` ("lo0 (skip)").
bool skips_interface(std::string_view interfaces, std::string_view interface);

}  // namespace mitm::cli
