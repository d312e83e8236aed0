// Whether rules that were loaded are still in force.
#pragma once

#include <string>
#include <vector>

namespace pfctl {

/// What others have made of rules that were loaded.
struct Standing {
  bool in_force = true;
  std::string found;  ///< not in force: what was found, for the user
  std::vector<std::string>
      conflicts;  ///< rules of others that keep ours from their work, a line each

  bool operator==(const Standing&) const = default;
};

}  // namespace pfctl
