// A map of limited size that forgets what was not used for longest.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace base {

/// A string key is looked up as a string_view: a hit allocates nothing. Not thread-safe.
template <class Key, class Value>
class LruCache {
 public:
  using Lookup = std::conditional_t<std::is_same_v<Key, std::string>, std::string_view, Key>;

  /// At least one entry is kept.
  explicit LruCache(std::size_t limit) : limit_(limit) {}
  LruCache(const LruCache&) = delete;
  LruCache& operator=(const LruCache&) = delete;

  /// The value of `key`, which is now the most recently used; null: it is not there. Valid until
  /// the next put(), erase() or clear().
  [[nodiscard]] Value* find(const Lookup& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &entries_.front().second;
  }

  /// Adds or replaces. At the limit the least recently used entry goes first.
  Value& put(Key key, Value value) {
    if (Value* const known = find(key)) {
      *known = std::move(value);
      return *known;
    }
    if (entries_.size() >= limit_ && !entries_.empty()) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    entries_.emplace_front(std::move(key), std::move(value));
    index_.emplace(entries_.front().first, entries_.begin());
    return entries_.front().second;
  }

  void erase(const Lookup& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return;
    const auto entry = found->second;
    index_.erase(found);
    entries_.erase(entry);
  }

  void clear() {
    index_.clear();
    entries_.clear();
  }

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  using Entries = std::list<std::pair<const Key, Value>>;

  std::size_t limit_;
  Entries entries_;  ///< most recently used first
  std::unordered_map<Lookup, typename Entries::iterator> index_;
};

}  // namespace base
