// The order of a list: that of ids, or one that SQLite has sorted once and that new flows join.
#include <algorithm>

#include "mitm/view/flow_list.h"

namespace mitm::view {

bool FlowList::publish(std::vector<Id> order) {
  const std::lock_guard lock(mutex_);
  if (cancelled_) return false;
  sorted_ = std::move(order);
  by_id_ = order_.by_id();
  descending_ = order_.descending;
  shown_is_old_ = true;
  if (by_id_) shown_ = {};
  progress_.sorted = true;
  return true;
}

/// What is new goes to its place; all is sorted when it is too much, or when the order is new.
base::Result<> FlowList::sort() {
  if (cancelled_) return {};
  if (order_.by_id()) {
    if (must_sort_ && publish(std::vector<Id>{})) must_sort_ = false;
    return {};
  }
  if (!must_sort_ && known_to_ == sorted_to_) return {};
  if (!must_sort_ && known_to_ - sorted_to_ <= kSortedIn) {
    auto added = scan_->existing(sorted_to_ + 1, known_to_);
    if (!added) return added.error();
    if (auto done = sort_in(std::move(*added)); !done) return done;
  } else {
    auto all = scan_->sorted(known_to_);
    if (!all) return all.error();
    if (publish(std::move(*all))) must_sort_ = false;
  }
  if (!cancelled_) sorted_to_ = known_to_;
  return {};
}

/// `ids` are ascending; some may be there already, at a place that is no longer theirs, or gone.
base::Result<> FlowList::sort_in(std::vector<Id> ids) {
  // Only this thread changes it.
  std::vector<Id> order = sorted_;
  std::erase_if(order, [&](Id id) { return std::ranges::binary_search(ids, id); });
  std::vector<std::pair<Key, Id>> keys;
  for (const Id id : ids) {
    const auto there = scan_->existing(id, id);
    if (!there) return there.error();
    if (there->empty()) continue;
    auto key = scan_->key(id);
    if (!key) return key.error();
    keys.emplace_back(std::move(*key), id);
  }
  std::ranges::sort(keys, [&](const auto& a, const auto& b) {
    return scan_->before(a.first, a.second, b.first, b.second);
  });
  std::vector<Id> merged;
  merged.reserve(order.size() + keys.size());
  auto from = order.begin();
  for (const auto& [key, id] : keys) {
    const auto place = place_in(order, key, id);
    if (!place) return place.error();
    const auto to = order.begin() + static_cast<std::ptrdiff_t>(*place);
    merged.insert(merged.end(), from, to);
    merged.push_back(id);
    from = to;
  }
  merged.insert(merged.end(), from, order.end());
  static_cast<void>(publish(std::move(merged)));
  return {};
}

base::Result<std::size_t> FlowList::place_in(const std::vector<Id>& order, const Key& key, Id id) {
  std::size_t first = 0;
  std::size_t last = order.size();
  while (first < last) {
    const std::size_t middle = first + (last - first) / 2;
    const auto other = scan_->key(order[middle]);
    if (!other) return other.error();
    if (scan_->before(*other, order[middle], key, id)) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first;
}

}  // namespace mitm::view
