// Asks a session which of its flows a filter selects, and sorts them. For one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mitm/query/filter.h"
#include "mitm/store/session_reader.h"
#include "mitm/view/id_set.h"
#include "mitm/view/order.h"

namespace mitm::view {

class Scan {
 public:
  static base::Result<std::unique_ptr<Scan>> open(const std::string& path);
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;

  [[nodiscard]] base::Result<> set_filter(const query::Filter& filter);
  [[nodiscard]] base::Result<> set_order(const Order& order);

  /// The flows from `first` to `last` that match, ascending; not all of them once `cancelled`.
  /// Those that cannot be read do not match.
  [[nodiscard]] base::Result<std::vector<Id>> matches(Id first, Id last,
                                                      const std::atomic<bool>& cancelled);
  /// All flows up to `last` in the order.
  [[nodiscard]] base::Result<std::vector<Id>> sorted(Id last);
  /// The same as far as it was `sorted` before, with `moved`, ascending ids, at their places: new
  /// flows, and those whose place may have changed.
  [[nodiscard]] base::Result<std::vector<Id>> sorted_in(const std::vector<Id>& sorted,
                                                        const std::vector<Id>& moved);

  /// What a session has at one moment.
  struct Extent {
    Id newest = 0;         ///< 0: it has no flows
    std::vector<Id> live;  ///< have not ended
  };
  [[nodiscard]] base::Result<Extent> extent();
  /// The first flow from `from` on that a ring of the session's may delete; 0: none.
  [[nodiscard]] base::Result<Id> first_deletable(Id from);
  /// The flows from `first` to `last` that exist.
  [[nodiscard]] base::Result<std::vector<Id>> existing(Id first, Id last);
  /// Changes when another connection has written to the session.
  [[nodiscard]] base::Result<std::int64_t> version();

  /// For any thread: the statement that runs fails soon.
  void interrupt();

 private:
  explicit Scan(std::unique_ptr<store::SessionReader> reader) : reader_(std::move(reader)) {}
  [[nodiscard]] base::Result<> prepare();
  /// That of a flow in the order. False: the flow is gone, and the key that of an absent value.
  [[nodiscard]] base::Result<bool> read_key(Id id, Key& key);
  [[nodiscard]] bool before(const Key& key, Id id, const Key& other_key, Id other) const;
  [[nodiscard]] base::Result<std::size_t> place_in(const std::vector<Id>& sorted, const Key& key,
                                                   Id id);
  [[nodiscard]] static base::Result<std::vector<Id>> ids_of(store::Statement& statement);

  std::unique_ptr<store::SessionReader> reader_;
  std::unique_ptr<query::Filter> filter_;
  std::uint64_t body_limit_ = 0;  ///< of flows that the filter is asked about
  Order order_;
  store::Statement matches_, key_, extent_, deletable_, existing_, version_;
};

}  // namespace mitm::view
