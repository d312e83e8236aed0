// What is shown of a session: the flows that a filter selects, in an order, by windows. No flow is
// held in memory; a flow costs a bit, and eight bytes while it is sorted by anything but its id.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "mitm/query/filter.h"
#include "mitm/view/order.h"
#include "mitm/view/row.h"
#include "mitm/view/scan.h"
#include "mitm/view/shown_flows.h"

namespace mitm::view {

/// A thread of its own asks the session; windows show what is known so far. All functions but
/// rows() are for any thread, and none of them but rows() waits for the disk.
class FlowList {
 public:
  struct Options {
    /// How often it is looked whether the session has changed; empty: only when refresh() is
    /// called.
    std::optional<std::chrono::milliseconds> poll{};
    /// Called on the list's thread after windows or progress have changed, up to a hundred times a
    /// second. It must not destroy the list.
    std::function<void()> changed{};
  };
  struct Progress {
    std::uint64_t matches = 0;  ///< so far
    std::uint64_t asked = 0;    ///< flows, or ids of such as are gone
    std::uint64_t all = 0;
    bool sorted = true;     ///< false: windows are in the order of ids so far
    bool complete = false;  ///< all flows that there were when it was looked last have been asked
    std::optional<base::Error> error{};  ///< why it is not, and does not go on
  };

  static base::Result<std::unique_ptr<FlowList>> open(const std::string& path,
                                                      const query::Filter& filter, Order order,
                                                      Options options);
  FlowList(const FlowList&) = delete;
  FlowList& operator=(const FlowList&) = delete;
  ~FlowList();  ///< cancels

  /// Begins anew with another filter, order. What was under way is cancelled; windows are empty
  /// after a new filter until there are matches.
  void set_filter(const query::Filter& filter);
  void set_order(const Order& order);
  /// Takes in what has been committed since: flows that are new, have changed or are gone.
  void refresh();
  /// Flows whose notes have changed: they are asked again with the next refresh.
  void ask_again(const std::vector<Id>& ids);

  [[nodiscard]] Progress progress() const;
  /// Waits until all has been asked. False: that takes longer.
  [[nodiscard]] bool wait(std::chrono::milliseconds longest) const;
  /// Those at the places from `first` on.
  [[nodiscard]] std::vector<Id> ids(std::uint64_t first, std::size_t count) const;
  /// Where a flow is; empty: it is not shown.
  [[nodiscard]] std::optional<std::uint64_t> place_of(Id id) const;
  /// ids() with what the session has of them; one that is gone meanwhile is empty. For one thread.
  [[nodiscard]] base::Result<std::vector<std::optional<Row>>> rows(std::uint64_t first,
                                                                   std::size_t count);

 private:
  /// More flows than that are sorted by SQLite with all others, not one by one.
  static constexpr std::size_t kSortedIn = 2000;

  FlowList(std::unique_ptr<Scan> scan, std::unique_ptr<RowReader> rows, Options options);

  /// Ids that have not been asked, both included.
  struct Range {
    Id first = 0;
    Id last = 0;
  };

  // On its thread.
  void run();
  [[nodiscard]] bool wait_for_work();
  [[nodiscard]] base::Result<> take_requests();
  [[nodiscard]] base::Result<> apply(const query::Filter* filter,
                                     const std::optional<Order>& order);
  [[nodiscard]] base::Result<> pass();
  [[nodiscard]] base::Result<> look();
  [[nodiscard]] base::Result<> ask_changed();
  [[nodiscard]] base::Result<> ask_some();
  [[nodiscard]] base::Result<> ask(Range range);
  [[nodiscard]] base::Result<> sort();
  [[nodiscard]] base::Result<std::vector<Id>> sorted();
  void forget_above(Id newest);
  [[nodiscard]] base::Result<> remove_deleted();
  void publish_matches(Range range, const std::vector<Id>& matches);
  void publish_order(std::vector<Id> sorted);
  void finish(const base::Result<>& done);
  void tell();

  // With the mutex held.
  [[nodiscard]] bool has_requests() const;
  void begin_anew();

  const Options options_;
  std::unique_ptr<Scan> scan_;
  std::unique_ptr<RowReader> row_reader_;

  // Of its thread only.
  Order order_;
  bool must_sort_ = false;
  bool has_news_ = false;
  Id known_to_ = 0;            ///< the newest flow that is known
  Id sorted_to_ = 0;           ///< flows up to this one have been sorted
  Id deletable_ = 1;           ///< what comes before it has been deleted, or stays
  std::vector<Range> todo_;    ///< ascending
  Id step_;                    ///< ids that are asked at once
  std::vector<Id> live_;       ///< when the session was looked at last
  std::vector<Id> unsettled_;  ///< ascending; have been asked, and may have changed since
  std::int64_t version_ = -1;  ///< of the session when it was looked at last
  std::chrono::steady_clock::time_point told_;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::unique_ptr<query::Filter> wanted_filter_;  ///< null: as it is
  std::optional<Order> wanted_order_;
  std::vector<Id> wanted_again_;
  bool wanted_refresh_ = false;
  bool stopping_ = false;
  std::atomic<bool> cancelled_{false};
  Progress progress_;
  ShownFlows shown_;  ///< its order is changed by the thread alone

  std::thread thread_;
};

}  // namespace mitm::view
