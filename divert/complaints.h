// What fails for one connection may fail for thousands: each kind is said once, and all are counted.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"

namespace divert {

/// Of connections whose original destination cannot be found out. They are closed.
class Complaints {
 public:
  /// The line to log; empty: one of this errno has been logged.
  std::optional<std::string> about(const base::Error& error);

  /// For the end of a run; empty: there were none.
  [[nodiscard]] std::string summary() const;

 private:
  std::set<int> said_;  ///< errnos
  std::uint64_t count_ = 0;
};

}  // namespace divert
