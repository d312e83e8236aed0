#include "mitm/view/shown_flows.h"

#include <algorithm>
#include <utility>

namespace mitm::view {

void ShownFlows::clear() {
  matches_.clear();
  in_order_is_old_ = true;
}

std::vector<Id> ShownFlows::matches_within(Id first, Id last) const {
  const std::uint64_t below = matches_.rank(first);
  const std::uint64_t up_to_last = matches_.rank(last) + (matches_.contains(last) ? 1 : 0);
  return matches_.ascending(below, static_cast<std::size_t>(up_to_last - below));
}

void ShownFlows::set_matches(Id first, Id last, const std::vector<Id>& matches) {
  bool changed = false;
  for (const Id id : matches_within(first, last)) {
    if (!std::ranges::binary_search(matches, id)) changed = matches_.erase(id) || changed;
  }
  for (const Id id : matches) changed = matches_.insert(id) || changed;
  in_order_is_old_ = in_order_is_old_ || changed;
}

void ShownFlows::remove_others(Id first, Id last, const std::vector<Id>& existing) {
  const auto is_gone = [&](Id id) {
    return id >= first && id <= last && !std::ranges::binary_search(existing, id);
  };
  bool changed = false;
  for (const Id id : matches_within(first, last)) {
    if (is_gone(id)) changed = matches_.erase(id) || changed;
  }
  std::erase_if(sorted_, is_gone);
  in_order_is_old_ = in_order_is_old_ || changed;
}

void ShownFlows::order_by_id(bool descending) {
  by_ = descending ? By::id_descending : By::id;
  sorted_ = {};
  in_order_ = {};
}

void ShownFlows::order_as(std::vector<Id> sorted) {
  by_ = By::sorted;
  sorted_ = std::move(sorted);
  in_order_is_old_ = true;
}

const std::vector<Id>& ShownFlows::in_order() const {
  if (!std::exchange(in_order_is_old_, false)) return in_order_;
  in_order_.clear();
  for (const Id id : sorted_) {
    if (matches_.contains(id)) in_order_.push_back(id);
  }
  return in_order_;
}

std::vector<Id> ShownFlows::ids(std::uint64_t first, std::size_t count) const {
  if (by_ == By::id) return matches_.ascending(first, count);
  if (by_ == By::id_descending) return matches_.descending(first, count);
  const std::vector<Id>& all = in_order();
  if (first >= all.size()) return {};
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
  const auto left = static_cast<std::size_t>(all.end() - begin);
  return {begin, begin + static_cast<std::ptrdiff_t>(std::min(count, left))};
}

std::optional<std::uint64_t> ShownFlows::place_of(Id id) const {
  if (!matches_.contains(id)) return std::nullopt;
  if (by_ == By::id) return matches_.rank(id);
  if (by_ == By::id_descending) return matches_.size() - 1 - matches_.rank(id);
  const std::vector<Id>& all = in_order();
  const auto found = std::ranges::find(all, id);
  if (found == all.end()) return std::nullopt;
  return static_cast<std::uint64_t>(found - all.begin());
}

}  // namespace mitm::view
