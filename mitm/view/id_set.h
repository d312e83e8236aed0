// A set of flows by their ids, which are dense: a bit each, and counts by which the k-th is found.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace mitm::view {

/// Of a flow in its session. Sessions have fewer than four thousand million.
using Id = std::uint32_t;

/// A million ids occupy 128 KiB, wherever they begin: what has been erased at the ends occupies
/// nothing.
class IdSet {
 public:
  /// False: it is there already.
  bool insert(Id id);
  /// False: it is not there.
  bool erase(Id id);
  void clear();

  [[nodiscard]] bool contains(Id id) const;
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// How many are smaller than `id`.
  [[nodiscard]] std::uint64_t rank(Id id) const;
  /// Number `first` and up to `count` - 1 that follow it, from the smallest, or from the largest
  /// one.
  [[nodiscard]] std::vector<Id> ascending(std::uint64_t first, std::size_t count) const;
  [[nodiscard]] std::vector<Id> descending(std::uint64_t first, std::size_t count) const;

 private:
  static constexpr std::size_t kWords = 64;
  static constexpr Id kIds = kWords * 64;

  struct Block {
    std::array<std::uint64_t, kWords> words{};
    std::uint32_t count = 0;
  };

  [[nodiscard]] Block* block_of(Id id);
  [[nodiscard]] const Block* block_of(Id id) const;

  std::deque<Block> blocks_;
  Id first_block_ = 0;  ///< number of blocks_.front()
  std::uint64_t size_ = 0;
};

}  // namespace mitm::view
