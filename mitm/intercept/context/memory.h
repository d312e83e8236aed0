// What all connections of a run hold together, beside the limits that each of them has.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace mitm::intercept {

/// Context by all io_contexts. Nothing is ever refused: when it is exhausted, connections read less
/// at once, and pipelined requests and what comes of a large head wait in the kernel; header fields
/// of HTTP/2, which cannot wait, are not recorded. Payloads may take three quarters of it: what one
/// user wants recorded of bodies takes nothing from how everything else passes. Any thread.
class MemoryBudget {
 public:
  static constexpr std::size_t kLimit = 64 << 20;
  static constexpr std::chrono::milliseconds kPatience{5000};

  /// `limit`: in bytes.
  explicit MemoryBudget(std::size_t limit = kLimit, std::chrono::milliseconds patience = kPatience)
      : limit_(static_cast<std::int64_t>(limit)), patience_(patience) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  /// Called on the thread of a connection, once: the first time that something is not recorded. Set
  /// before the first connection.
  void on_first_drop(std::function<void()> call) { on_first_drop_ = std::move(call); }

  [[nodiscard]] bool is_exhausted() const {
    return used_.load(std::memory_order_relaxed) >= limit_;
  }
  /// Whether `bytes` of a payload may still be recorded.
  [[nodiscard]] bool has_room_for_payload(std::size_t bytes) const {
    return used() + static_cast<std::int64_t>(bytes) < limit_ / 4 * 3;
  }
  /// How long a connection waits for memory before it goes on all the same.
  [[nodiscard]] std::chrono::milliseconds patience() const { return patience_; }
  /// Bytes.
  [[nodiscard]] std::int64_t used() const { return used_.load(std::memory_order_relaxed); }
  /// Something was not recorded because of it: a body, a message's payload, the fields of a head.
  void count_drop() {
    if (dropped_.fetch_add(1, std::memory_order_relaxed) == 0 && on_first_drop_) on_first_drop_();
  }
  [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  friend class MemoryAccount;

  const std::int64_t limit_;
  const std::chrono::milliseconds patience_;
  std::atomic<std::int64_t> used_{0};
  std::atomic<std::uint64_t> dropped_{0};
  std::function<void()> on_first_drop_;
};

/// An io_context's account of it: small changes are summed up here, so that threads do not write to
/// one place with each request. Off by at most kSlack.
class MemoryAccount {
 public:
  static constexpr std::int64_t kSlack = 64 << 10;

  explicit MemoryAccount(std::shared_ptr<MemoryBudget> budget) : budget_(std::move(budget)) {}
  MemoryAccount(const MemoryAccount&) = delete;
  MemoryAccount& operator=(const MemoryAccount&) = delete;
  ~MemoryAccount() { budget_->used_.fetch_add(unreported_, std::memory_order_relaxed); }

  void change(std::int64_t bytes) {
    unreported_ += bytes;
    if (unreported_ > -kSlack && unreported_ < kSlack) return;
    budget_->used_.fetch_add(std::exchange(unreported_, 0), std::memory_order_relaxed);
  }
  [[nodiscard]] bool is_exhausted() const { return budget_->is_exhausted(); }
  [[nodiscard]] bool has_room_for_payload(std::size_t bytes = 0) const {
    return budget_->has_room_for_payload(bytes);
  }
  void count_drop() { budget_->count_drop(); }
  [[nodiscard]] std::chrono::milliseconds patience() const { return budget_->patience(); }

 private:
  std::shared_ptr<MemoryBudget> budget_;
  std::int64_t unreported_ = 0;
};

/// What one part of a connection holds.
class MemoryShare {
 public:
  explicit MemoryShare(MemoryAccount& account) : account_(&account) {}
  MemoryShare(MemoryShare&& other) noexcept
      : account_(other.account_), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryShare& operator=(MemoryShare&&) = delete;
  ~MemoryShare() { set(0); }

  void set(std::size_t bytes) {
    if (bytes == bytes_) return;
    account_->change(static_cast<std::int64_t>(bytes) - static_cast<std::int64_t>(bytes_));
    bytes_ = bytes;
  }
  void add(std::size_t bytes) { set(bytes_ + bytes); }
  void take(std::size_t bytes) { set(bytes_ - bytes); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  MemoryAccount* account_;
  std::size_t bytes_ = 0;
};

/// What a connection reads at once of `size` bytes of room: when the memory of all is used up only
/// little, which is all that it then holds of it.
[[nodiscard]] inline std::size_t readable(const MemoryAccount& account, std::size_t size) {
  constexpr std::size_t kLittle = 16 << 10;
  return account.is_exhausted() && size > kLittle ? kLittle : size;
}

}  // namespace mitm::intercept
