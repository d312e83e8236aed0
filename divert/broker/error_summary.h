// What fails for one connection may fail for thousands: each kind is said once, and all are
// counted.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"

namespace divert {

/// What follows from a failure, and how failures are counted: "1 CONNECTION WAS ...", "2
/// CONNECTIONS WERE
/// ...".
struct ComplaintTexts {
  std::string_view consequence;
  std::string_view one;
  std::string_view many;
};
/// The original destination cannot be found out.
inline constexpr ComplaintTexts kUnknownDestinations{
    "the connection is closed", "connection was closed because its destination is unknown",
    "connections were closed because their destinations are unknown"};
/// No socket can be made in a program's name. Counted are attempts: a connection makes many.
inline constexpr ComplaintTexts kNoProgramSockets{
    "a connection that needs one waits for it for up to 12 seconds, and is closed then",
    "attempt to make a socket in a program's name has failed",
    "attempts to make a socket in a program's name have failed"};

class ErrorSummary {
 public:
  explicit ErrorSummary(const ComplaintTexts& texts) : texts_(texts) {}

  /// The line to log; empty: one of this errno has been logged.
  std::optional<std::string> about(const base::Error& error);

  /// For the end of a run; empty: there were none.
  [[nodiscard]] std::string summary() const;

 private:
  const ComplaintTexts& texts_;
  std::set<int> said_;  ///< errnos
  std::uint64_t count_ = 0;
};

}  // namespace divert
