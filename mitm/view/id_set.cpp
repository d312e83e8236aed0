// A block has 4096 ids: the counts of a hundred million ids are added up in microseconds.
#include "mitm/view/id_set.h"

#include <algorithm>
#include <bit>

namespace mitm::view {
namespace {

std::uint64_t bit_of(Id id) {
  return std::uint64_t{1} << (id % 64);
}

}  // namespace

const IdSet::Block* IdSet::block_of(Id id) const {
  const Id number = id / kIds;
  if (number < first_block_ || number - first_block_ >= blocks_.size()) return nullptr;
  return &blocks_[number - first_block_];
}

IdSet::Block* IdSet::block_of(Id id) {
  return const_cast<Block*>(static_cast<const IdSet*>(this)->block_of(id));
}

bool IdSet::insert(Id id) {
  const Id number = id / kIds;
  if (blocks_.empty()) first_block_ = number;
  for (; number < first_block_; --first_block_) blocks_.emplace_front();
  while (number - first_block_ >= blocks_.size()) blocks_.emplace_back();
  Block& block = blocks_[number - first_block_];
  std::uint64_t& word = block.words[id % kIds / 64];
  if ((word & bit_of(id)) != 0) return false;
  word |= bit_of(id);
  ++block.count;
  ++size_;
  return true;
}

bool IdSet::erase(Id id) {
  if (!contains(id)) return false;
  Block& block = *block_of(id);
  block.words[id % kIds / 64] &= ~bit_of(id);
  --block.count;
  --size_;
  for (; !blocks_.empty() && blocks_.front().count == 0; ++first_block_) blocks_.pop_front();
  while (!blocks_.empty() && blocks_.back().count == 0) blocks_.pop_back();
  return true;
}

void IdSet::clear() {
  blocks_.clear();
  size_ = 0;
}

bool IdSet::contains(Id id) const {
  const Block* const block = block_of(id);
  return block != nullptr && (block->words[id % kIds / 64] & bit_of(id)) != 0;
}

std::uint64_t IdSet::rank(Id id) const {
  std::uint64_t below = 0;
  const Id number = id / kIds;
  for (std::size_t i = 0; i < blocks_.size() && first_block_ + i < number; ++i)
    below += blocks_[i].count;
  const Block* const block = block_of(id);
  if (block == nullptr) return below;
  const std::size_t word = id % kIds / 64;
  for (std::size_t i = 0; i < word; ++i)
    below += static_cast<std::uint64_t>(std::popcount(block->words[i]));
  return below + static_cast<std::uint64_t>(std::popcount(block->words[word] & (bit_of(id) - 1)));
}

std::vector<Id> IdSet::ascending(std::uint64_t first, std::size_t count) const {
  std::vector<Id> ids;
  std::uint64_t skip = first;
  for (std::size_t b = 0; b < blocks_.size() && ids.size() < count; ++b) {
    const Block& block = blocks_[b];
    if (skip >= block.count) {
      skip -= block.count;
      continue;
    }
    const Id base = (first_block_ + static_cast<Id>(b)) * kIds;
    for (std::size_t w = 0; w < kWords && ids.size() < count; ++w) {
      for (std::uint64_t word = block.words[w]; word != 0 && ids.size() < count; word &= word - 1) {
        if (skip > 0) {
          --skip;
        } else {
          ids.push_back(base + static_cast<Id>(w * 64) + static_cast<Id>(std::countr_zero(word)));
        }
      }
    }
  }
  return ids;
}

std::vector<Id> IdSet::descending(std::uint64_t first, std::size_t count) const {
  if (first >= size_) return {};
  const std::uint64_t number = std::min<std::uint64_t>(count, size_ - first);
  auto ids = ascending(size_ - first - number, static_cast<std::size_t>(number));
  std::ranges::reverse(ids);
  return ids;
}

}  // namespace mitm::view
