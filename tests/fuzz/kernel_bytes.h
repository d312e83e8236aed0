// The input in memory of exactly its size, so that a read behind its end is seen, aligned as a
// receive buffer is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

class KernelBytes {
 public:
  KernelBytes(const std::uint8_t* data, std::size_t size)
      : size_(size), bytes_(std::make_unique<char[]>(size)) {
    if (size > 0) std::memcpy(bytes_.get(), data, size);
  }
  [[nodiscard]] std::string_view view() const { return {bytes_.get(), size_}; }
  [[nodiscard]] bool holds(std::string_view part) const {
    return part.empty() ||
           (part.data() >= bytes_.get() && part.data() + part.size() <= bytes_.get() + size_);
  }

 private:
  std::size_t size_;
  std::unique_ptr<char[]> bytes_;
};
