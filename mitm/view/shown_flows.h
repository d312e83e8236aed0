// Those flows of a session that a list shows, and where.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "mitm/view/id_set.h"

namespace mitm::view {

/// Flows that match, in an order. It begins with none, in the order of ids. For one thread at a
/// time; sorted() may be read beside functions that are const, and beside clear().
class ShownFlows {
 public:
  /// None match; the order stays.
  void clear();
  /// Those of the flows from `first` to `last` match, which are ascending.
  void set_matches(Id first, Id last, const std::vector<Id>& matches);
  /// Of the flows from `first` to `last` there are only those, which are ascending.
  void remove_others(Id first, Id last, const std::vector<Id>& existing);

  void order_by_id(bool descending);
  /// `sorted`: all flows, whether they match or not.
  void order_as(std::vector<Id> sorted);
  /// What order_as() was given, but for what was removed since.
  [[nodiscard]] const std::vector<Id>& sorted() const { return sorted_; }

  [[nodiscard]] std::uint64_t size() const { return matches_.size(); }
  /// Those at the places from `first` on.
  [[nodiscard]] std::vector<Id> ids(std::uint64_t first, std::size_t count) const;
  /// Where a flow is; empty: it is not shown.
  [[nodiscard]] std::optional<std::uint64_t> place_of(Id id) const;

 private:
  enum class By : std::uint8_t { id, id_descending, sorted };

  [[nodiscard]] std::vector<Id> matches_within(Id first, Id last) const;
  [[nodiscard]] const std::vector<Id>& in_order() const;

  By by_ = By::id;
  IdSet matches_;
  std::vector<Id> sorted_;
  mutable std::vector<Id> in_order_;  ///< those of `sorted_` that match
  mutable bool in_order_is_old_ = false;
};

}  // namespace mitm::view
