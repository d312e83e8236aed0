// Hosts as rules and settings name them: names, wildcards for all names below one, addresses.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace base {

/// A host pattern as it is compared: lower case, without a trailing dot; "example.org",
/// "*.example.org", "192.0.2.1", "2001:db8::1" (brackets are taken off). Errors name the text and
/// what was expected.
[[nodiscard]] Result<std::string> parse_host_pattern(std::string_view text);

/// Compares a pattern with a name: case and a trailing dot do not count. "*.example.org" is
/// every name below example.org, at any depth, but not example.org itself. An address matches only
/// an equal address.
bool host_matches(std::string_view pattern, std::string_view host);

}  // namespace base
