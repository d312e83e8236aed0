// How much of a session is kept: a ring, from which the oldest flows go first.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "mitm/store/database.h"

namespace mitm::store {

/// Empty: no limit.
struct Limits {
  std::optional<std::uint64_t> bytes{};  ///< of the file, roughly
  std::optional<std::chrono::seconds> age{};
  std::optional<std::uint64_t> flows{};

  [[nodiscard]] bool any() const { return bytes || age || flows; }
};

/// "2G", "500M", "7d", "12h", "100000": bytes with k, M, G; an age with s, m, h, d; flows with
/// nothing.
[[nodiscard]] base::Result<Limits> parse_limits(std::string_view text);

/// As parse_limits() reads it; empty: no limit.
[[nodiscard]] std::string to_string(const Limits& limits);

/// Deletes what is beyond the limits. Flows that have a mark or a comment stay, and so do those
/// that are live.
class Retention {
 public:
  explicit Retention(Limits limits) : limits_(limits) {}

  /// Looks at up to kStep of the oldest flows if there are too many, and deletes those that may go,
  /// within a transaction of its own. True: there may be more to delete. Connections from
  /// `first_open` on are still needed.
  [[nodiscard]] base::Result<bool> apply(Database& database,
                                         std::chrono::system_clock::time_point now,
                                         std::int64_t first_open);
  /// Whether rows that flows share have been swept since the last call.
  [[nodiscard]] bool take_swept() { return std::exchange(swept_, false); }
  /// Flows that were deleted so far.
  [[nodiscard]] std::uint64_t deleted() const { return deleted_; }

 private:
  static constexpr std::int64_t kStep = 1000;

  /// The id up to which flows from next_ on are too many; less than next_: none is.
  [[nodiscard]] base::Result<std::int64_t> last_to_delete(
      Database& database, std::chrono::system_clock::time_point now);

  Limits limits_;
  std::int64_t next_ = 1;  ///< id of the first flow that has not been looked at
  std::uint64_t deleted_ = 0;
  std::uint64_t unswept_ = 0;  ///< deleted since the last sweep
  std::uint64_t flows_ = 0;    ///< that may be deleted next, roughly
  bool swept_ = false;
};

/// Deletes the flows with these ids that have neither mark nor comment and have ended, with their
/// messages, and bodies to which no other flow refers. Returns how many. Within a transaction of
/// the caller's.
[[nodiscard]] base::Result<std::int64_t> delete_flows(Database& database, std::int64_t first,
                                                      std::int64_t last);

/// Deletes connections to which no flow refers, but for those from `first_open` on, and processes
/// and certificates to which no connection does.
[[nodiscard]] base::Result<> sweep(Database& database, std::int64_t first_open);

}  // namespace mitm::store
