// How pfctl prints rules and reads them: what it prints is not always what it reads. For the model
// of a machine (pf_machine.h). Seen on FreeBSD 14; of macOS by reading.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pfctl/pf.h"

namespace test {

/// The lines of a pf.conf or of what pfctl prints, without comments and empty ones.
std::vector<std::string> rule_lines(std::string_view text);

bool is_translation(std::string_view line);
bool is_table(std::string_view line);

/// As pf keeps it when pfctl has read it: names of services have become numbers.
std::string as_read(std::string line);

/// As `pfctl -s` and `pfctl -n -v` print it. `numeric`: -P; FreeBSD prints names of services
/// without it, and the names that /etc/services has for other ports as well. Both print every
/// operating system as "nomatch".
std::string as_printed(std::string line, pfctl::Dialect dialect, bool numeric);

/// `text` in the order in which pfctl prints translation rules: by kind.
std::vector<std::string> by_kind(std::vector<std::string> translations);

/// Whether pfctl's optimizer would make one rule of these two: they differ in one address.
bool combineable(std::string_view left, std::string_view right);

}  // namespace test
