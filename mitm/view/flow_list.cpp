// A pass looks at what the session has, removes what is gone, asks what may have changed, sorts,
// and asks the rest in steps that take some milliseconds each; what a step has found is published
// at once. A request cancels the pass; the next one goes on where it ended, or begins anew.
#include "mitm/view/flow_list.h"

#include <algorithm>
#include <numeric>

namespace mitm::view {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Id kFirstStep = 1024;
constexpr Id kLongestStep = 64 << 10;
constexpr auto kShortStep = std::chrono::milliseconds{5};
constexpr auto kLongStep = std::chrono::milliseconds{20};
constexpr auto kTellEvery = std::chrono::milliseconds{10};

/// `a` and `b` are ascending.
std::vector<Id> union_of(const std::vector<Id>& a, const std::vector<Id>& b) {
  std::vector<Id> all;
  std::ranges::set_union(a, b, std::back_inserter(all));
  return all;
}

}  // namespace

FlowList::FlowList(std::unique_ptr<Scan> scan, std::unique_ptr<RowReader> rows, Options options)
    : options_(std::move(options)),
      scan_(std::move(scan)),
      row_reader_(std::move(rows)),
      step_(kFirstStep) {}

base::Result<std::unique_ptr<FlowList>> FlowList::open(const std::string& path,
                                                       const query::Filter& filter, Order order,
                                                       Options options) {
  auto scan = Scan::open(path);
  if (!scan) return scan.error();
  auto rows = RowReader::open(path);
  if (!rows) return rows.error();
  std::unique_ptr<FlowList> list{
      new FlowList{std::move(*scan), std::move(*rows), std::move(options)}};
  list->wanted_filter_ = std::make_unique<query::Filter>(filter);
  list->wanted_order_ = std::move(order);
  list->thread_ = std::thread([it = list.get()] { it->run(); });
  return list;
}

FlowList::~FlowList() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    begin_anew();
  }
  thread_.join();
}

// Requests, from any thread.

bool FlowList::has_requests() const {
  return wanted_filter_ || wanted_order_ || wanted_refresh_ || !wanted_again_.empty();
}

/// What is under way is of no use any more.
void FlowList::begin_anew() {
  cancelled_ = true;
  scan_->interrupt();
  progress_.complete = false;
  progress_.error.reset();
  changed_.notify_all();
}

void FlowList::set_filter(const query::Filter& filter) {
  const std::lock_guard lock(mutex_);
  wanted_filter_ = std::make_unique<query::Filter>(filter);
  shown_.clear();
  progress_.matches = 0;
  progress_.asked = 0;
  begin_anew();
}

void FlowList::set_order(const Order& order) {
  const std::lock_guard lock(mutex_);
  wanted_order_ = order;
  progress_.sorted = false;
  begin_anew();
}

void FlowList::refresh() {
  const std::lock_guard lock(mutex_);
  wanted_refresh_ = true;
  progress_.complete = false;
  changed_.notify_all();
}

void FlowList::ask_again(const std::vector<Id>& ids) {
  const std::lock_guard lock(mutex_);
  wanted_again_.insert(wanted_again_.end(), ids.begin(), ids.end());
  progress_.complete = false;
  changed_.notify_all();
}

// Windows, from any thread.

FlowList::Progress FlowList::progress() const {
  const std::lock_guard lock(mutex_);
  return progress_;
}

bool FlowList::wait(std::chrono::milliseconds longest) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, longest, [this] { return progress_.complete || progress_.error; });
}

std::vector<Id> FlowList::ids(std::uint64_t first, std::size_t count) const {
  const std::lock_guard lock(mutex_);
  return shown_.ids(first, count);
}

std::optional<std::uint64_t> FlowList::place_of(Id id) const {
  const std::lock_guard lock(mutex_);
  return shown_.place_of(id);
}

base::Result<std::vector<std::optional<Row>>> FlowList::rows(std::uint64_t first,
                                                             std::size_t count) {
  return row_reader_->rows(ids(first, count));
}

// The thread.

void FlowList::run() {
  while (wait_for_work()) {
    auto done = take_requests();
    if (done) done = pass();
    finish(done);
  }
}

/// False: it is over.
bool FlowList::wait_for_work() {
  std::unique_lock lock(mutex_);
  while (!stopping_ && !has_requests()) {
    if (!options_.poll || progress_.error) {
      changed_.wait(lock);
    } else if (changed_.wait_for(lock, *options_.poll) == std::cv_status::timeout) {
      return !stopping_;
    }
  }
  return !stopping_;
}

base::Result<> FlowList::take_requests() {
  std::unique_lock lock(mutex_);
  has_news_ = has_requests();
  auto filter = std::move(wanted_filter_);
  const auto order = std::exchange(wanted_order_, std::nullopt);
  auto again = std::exchange(wanted_again_, {});
  wanted_refresh_ = false;
  cancelled_ = false;
  lock.unlock();
  if (!again.empty()) {
    std::ranges::sort(again);
    unsettled_ = union_of(unsettled_, again);
    version_ = -1;
  }
  auto set = apply(filter.get(), order);
  if (set || !cancelled_) return set;
  // It was interrupted by a request that may be for something else.
  lock.lock();
  if (!wanted_filter_) wanted_filter_ = std::move(filter);
  if (!wanted_order_) wanted_order_ = order;
  return set;
}

base::Result<> FlowList::apply(const query::Filter* filter, const std::optional<Order>& order) {
  if (order) {
    if (auto set = scan_->set_order(*order); !set) return set;
    order_ = *order;
    must_sort_ = true;
  }
  if (filter == nullptr) return {};
  todo_.clear();
  if (known_to_ > 0) todo_.push_back({1, known_to_});
  step_ = kFirstStep;
  return scan_->set_filter(*filter);
}

base::Result<> FlowList::pass() {
  if (auto done = look(); !done) return done;
  // Something to look at while it is sorted.
  if (must_sort_ && !todo_.empty()) {
    if (auto done = ask_some(); !done) return done;
  }
  if (auto done = ask_changed(); !done) return done;
  if (auto done = sort(); !done) return done;
  if (!cancelled_) unsettled_.clear();
  while (!todo_.empty() && !cancelled_) {
    if (auto done = ask_some(); !done) return done;
  }
  return {};
}

void FlowList::finish(const base::Result<>& done) {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return;
    progress_.error = done ? std::nullopt : std::optional{done.error()};
    progress_.complete = done.has_value() && !has_requests();
    progress_.all = known_to_;
    if (progress_.complete) progress_.asked = known_to_;
    changed_.notify_all();
  }
  if (!std::exchange(has_news_, false)) return;
  told_ = {};
  tell();
}

void FlowList::tell() {
  const auto now = Clock::now();
  if (!options_.changed || now - told_ < kTellEvery) return;
  told_ = now;
  options_.changed();
}

/// At what the session has now.
base::Result<> FlowList::look() {
  const auto version = scan_->version();
  if (!version) return version.error();
  if (*version == version_) return {};
  has_news_ = true;
  const auto extent = scan_->extent();
  if (!extent) return extent.error();
  if (extent->newest < known_to_) forget_above(extent->newest);
  // Those that were live may have ended; those that are live may have changed. New ones come with
  // all that is new.
  unsettled_ = union_of(unsettled_, union_of(live_, extent->live));
  std::erase_if(unsettled_, [this](Id id) { return id > known_to_; });
  live_ = extent->live;
  if (extent->newest > known_to_) todo_.push_back({known_to_ + 1, extent->newest});
  known_to_ = extent->newest;
  if (auto removed = remove_deleted(); !removed) return removed;
  version_ = *version;
  return {};
}

/// The newest flows have been deleted: another run gives their ids anew.
void FlowList::forget_above(Id newest) {
  std::erase_if(todo_, [&](const Range& range) { return range.first > newest; });
  if (!todo_.empty()) todo_.back().last = std::min(todo_.back().last, newest);
  sorted_to_ = std::min(sorted_to_, newest);
  deletable_ = std::min(deletable_, newest + 1);
  const std::lock_guard lock(mutex_);
  shown_.remove_others(newest + 1, known_to_, {});
  progress_.matches = shown_.size();
}

/// A ring deletes the oldest first, but for those that stay.
base::Result<> FlowList::remove_deleted() {
  const auto next = scan_->first_deletable(deletable_);
  if (!next) return next.error();
  if (*next == deletable_) return {};
  const Id end = *next == 0 ? known_to_ + 1 : *next;
  if (end <= deletable_) return {};
  const auto stay = scan_->existing(deletable_, end - 1);
  if (!stay) return stay.error();
  const std::lock_guard lock(mutex_);
  shown_.remove_others(deletable_, end - 1, *stay);
  progress_.matches = shown_.size();
  if (*next != 0) deletable_ = *next;
  return {};
}

base::Result<> FlowList::ask_changed() {
  for (const Id id : unsettled_) {
    if (cancelled_) return {};
    if (auto done = ask({id, id}); !done) return done;
  }
  return {};
}

/// The next step from the end at which windows begin.
base::Result<> FlowList::ask_some() {
  const bool from_end = order_.by_id() && order_.descending;
  Range& range = from_end ? todo_.back() : todo_.front();
  const Id most = std::min<Id>(step_, range.last - range.first + 1);
  const Range part = from_end ? Range{range.last - most + 1, range.last}
                              : Range{range.first, range.first + most - 1};
  const auto began = Clock::now();
  if (auto asked = ask(part); !asked || cancelled_) return asked;
  const auto took = Clock::now() - began;
  if (took < kShortStep) step_ = std::min(step_ * 2, kLongestStep);
  if (took > kLongStep) step_ = std::max<Id>(step_ / 2, 1);
  if (part.first == range.first && part.last == range.last) {
    todo_.erase(from_end ? todo_.end() - 1 : todo_.begin());
  } else if (from_end) {
    range.last -= most;
  } else {
    range.first += most;
  }
  std::uint64_t left = 0;
  for (const Range& one : todo_) left += one.last - one.first + 1;
  {
    const std::lock_guard lock(mutex_);
    progress_.all = known_to_;
    progress_.asked = known_to_ - left;
  }
  tell();
  return {};
}

base::Result<> FlowList::ask(Range range) {
  const auto matches = scan_->matches(range.first, range.last, cancelled_);
  if (!matches) return matches.error();
  publish_matches(range, *matches);
  return {};
}

/// Of no use once it is cancelled.
void FlowList::publish_matches(Range range, const std::vector<Id>& matches) {
  const std::lock_guard lock(mutex_);
  if (cancelled_) return;
  shown_.set_matches(range.first, range.last, matches);
  progress_.matches = shown_.size();
}

// The order.

/// Brings flows that are new or have changed to their places, or all if the order is new.
base::Result<> FlowList::sort() {
  if (cancelled_) return {};
  if (order_.by_id()) {
    if (must_sort_) publish_order({});
    return {};
  }
  if (!must_sort_ && unsettled_.empty() && known_to_ == sorted_to_) return {};
  auto order = sorted();
  if (!order) return order.error();
  publish_order(std::move(*order));
  return {};
}

/// What is too much to be put to its place one by one is sorted with all others.
base::Result<std::vector<Id>> FlowList::sorted() {
  if (unsettled_.size() + (known_to_ - sorted_to_) > kSortedIn) must_sort_ = true;
  if (must_sort_) return scan_->sorted(known_to_);
  std::vector<Id> moved(known_to_ - sorted_to_);
  std::iota(moved.begin(), moved.end(), sorted_to_ + 1);
  // Only this thread changes the order.
  return scan_->sorted_in(shown_.sorted(), union_of(unsettled_, moved));
}

/// Of no use once it is cancelled.
void FlowList::publish_order(std::vector<Id> sorted) {
  const std::lock_guard lock(mutex_);
  if (cancelled_) return;
  if (order_.by_id()) {
    shown_.order_by_id(order_.descending);
  } else {
    shown_.order_as(std::move(sorted));
    sorted_to_ = known_to_;
  }
  progress_.sorted = true;
  must_sort_ = false;
}

}  // namespace mitm::view
