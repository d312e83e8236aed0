// A pass looks at what the session has, removes what is gone, asks what may have changed, sorts,
// and asks the rest in steps that take some milliseconds each; what a step has found is published
// at once. A request cancels the pass; the next one goes on where it ended, or begins anew.
#include "mitm/view/flow_list.h"

#include <algorithm>

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

FlowList::FlowList(std::unique_ptr<Scan> scan, std::unique_ptr<store::SessionReader> reader,
                   RowReader rows, Options options)
    : options_(std::move(options)),
      scan_(std::move(scan)),
      reader_(std::move(reader)),
      row_reader_(std::move(rows)),
      step_(kFirstStep) {}

base::Result<std::unique_ptr<FlowList>> FlowList::open(const std::string& path,
                                                       const query::Filter& filter, Order order,
                                                       Options options) {
  auto scan = Scan::open(path);
  if (!scan) return scan.error();
  auto reader = store::SessionReader::open(path);
  if (!reader) return reader.error();
  auto rows = RowReader::make(**reader);
  if (!rows) return rows.error();
  std::unique_ptr<FlowList> list{
      new FlowList{std::move(*scan), std::move(*reader), std::move(*rows), std::move(options)}};
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
  matches_.clear();
  shown_is_old_ = true;
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

void FlowList::update_shown() const {
  if (!std::exchange(shown_is_old_, false)) return;
  shown_.clear();
  for (const Id id : sorted_) {
    if (matches_.contains(id)) shown_.push_back(id);
  }
}

std::vector<Id> FlowList::ids(std::uint64_t first, std::size_t count) const {
  const std::lock_guard lock(mutex_);
  if (by_id_)
    return descending_ ? matches_.descending(first, count) : matches_.ascending(first, count);
  update_shown();
  if (first >= shown_.size()) return {};
  const auto begin = shown_.begin() + static_cast<std::ptrdiff_t>(first);
  const auto left = static_cast<std::size_t>(shown_.end() - begin);
  return {begin, begin + static_cast<std::ptrdiff_t>(std::min(count, left))};
}

std::optional<std::uint64_t> FlowList::place_of(Id id) const {
  const std::lock_guard lock(mutex_);
  if (!matches_.contains(id)) return std::nullopt;
  if (by_id_) {
    const std::uint64_t rank = matches_.rank(id);
    return descending_ ? matches_.size() - 1 - rank : rank;
  }
  update_shown();
  const auto found = std::ranges::find(shown_, id);
  if (found == shown_.end()) return std::nullopt;
  return static_cast<std::uint64_t>(found - shown_.begin());
}

base::Result<std::vector<std::optional<Row>>> FlowList::rows(std::uint64_t first,
                                                             std::size_t count) {
  std::vector<std::optional<Row>> rows;
  const auto reading = store::ReadTransaction::begin(reader_->database());
  if (!reading) return reading.error();
  for (const Id id : ids(first, count)) {
    auto row = row_reader_.row(id);
    if (!row) return row.error();
    rows.push_back(std::move(*row));
  }
  return rows;
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
  if (extent->newest > known_to_) todo_.push_back({known_to_ + 1, extent->newest});
  known_to_ = std::max(known_to_, extent->newest);
  // Those that were live may have ended; those that are live may have changed.
  unsettled_ = union_of(unsettled_, union_of(live_, extent->live));
  live_ = extent->live;
  if (auto removed = remove_deleted(); !removed) return removed;
  version_ = *version;
  return {};
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
  const auto is_gone = [&](Id id) {
    return id >= deletable_ && id < end && !std::ranges::binary_search(*stay, id);
  };
  const std::lock_guard lock(mutex_);
  const std::uint64_t below = matches_.rank(deletable_);
  for (const Id id : matches_.ascending(below, matches_.rank(end) - below)) {
    if (is_gone(id)) matches_.erase(id);
  }
  std::erase_if(sorted_, is_gone);
  shown_is_old_ = true;
  progress_.matches = matches_.size();
  if (*next != 0) deletable_ = *next;
  return {};
}

base::Result<> FlowList::ask_changed() {
  if (unsettled_.empty()) return {};
  std::erase_if(unsettled_, [this](Id id) { return id > known_to_; });
  for (const Id id : unsettled_) {
    if (auto done = ask({id, id}); !done) return done;
    if (cancelled_) return {};
  }
  if (unsettled_.size() > kSortedIn) must_sort_ = true;
  if (!order_.by_id() && !must_sort_) {
    if (auto done = sort_in(unsettled_); !done) return done;
  }
  if (!cancelled_) unsettled_.clear();
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
  const std::lock_guard lock(mutex_);
  progress_.all = known_to_;
  progress_.asked = known_to_ - left;
  return {};
}

base::Result<> FlowList::ask(Range range) {
  const auto matches = scan_->matches(range.first, range.last, cancelled_);
  if (!matches) return matches.error();
  if (publish(range, *matches)) tell();
  return {};
}

/// False: it was cancelled meanwhile.
bool FlowList::publish(Range range, const std::vector<Id>& matches) {
  const std::lock_guard lock(mutex_);
  if (cancelled_) return false;
  const std::uint64_t below = matches_.rank(range.first);
  const std::uint64_t known =
      matches_.rank(range.last) - below + (matches_.contains(range.last) ? 1 : 0);
  for (const Id id : matches_.ascending(below, known)) {
    if (!std::ranges::binary_search(matches, id)) matches_.erase(id);
  }
  for (const Id id : matches) matches_.insert(id);
  shown_is_old_ = true;
  progress_.matches = matches_.size();
  return true;
}

}  // namespace mitm::view
