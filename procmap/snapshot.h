// A table that is costly to fetch and serves many questions: the kernel holds a lock of the whole
// network stack while it copies its sockets.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "base/error.h"

namespace procmap {

template <class Table>
class Snapshot {
 public:
  using Clock = std::chrono::steady_clock;
  using Fetch = std::function<base::Result<Table>()>;
  using Now = std::function<Clock::time_point()>;

  explicit Snapshot(
      Fetch fetch, Now now = [] { return Clock::now(); })
      : fetch_(std::move(fetch)), now_(std::move(now)) {}

  /// One that was fetched within the last millisecond, else a new one. Valid until the next call.
  [[nodiscard]] base::Result<const Table*> recent() {
    if (table_ && now_() - fetched_ < kKept) return &*table_;
    return fresh();
  }

  /// A new one.
  [[nodiscard]] base::Result<const Table*> fresh() {
    table_.reset();
    auto table = fetch_();
    if (!table) return table.error();
    // After the call: where it takes longer than the table is kept, it would serve no other call.
    fetched_ = now_();
    return &table_.emplace(std::move(*table));
  }

  /// What `look` (Table -> pointer or optional) finds in a recent one, and, when that is older than
  /// this call and holds nothing, in a new one: the socket asked for may be younger.
  template <class Look>
  [[nodiscard]] auto find(Look look) -> base::Result<decltype(look(std::declval<const Table&>()))> {
    const bool kept = table_ && now_() - fetched_ < kKept;
    auto table = recent();
    if (!table) return table.error();
    auto found = look(**table);
    if (found || !kept) return found;
    table = fresh();
    if (!table) return table.error();
    return look(**table);
  }

 private:
  static constexpr std::chrono::milliseconds kKept{1};

  Fetch fetch_;
  Now now_;
  std::optional<Table> table_;
  Clock::time_point fetched_;
};

}  // namespace procmap
