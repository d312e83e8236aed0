// Whole messages are handed over where they lie; only what is cut is copied.
#include "mitm/dns/stream.h"

#include <algorithm>

namespace mitm::dns {
namespace {

constexpr std::size_t kLength = 2;

/// With the length itself; 0: not known yet.
std::size_t size_of(std::string_view bytes) {
  if (bytes.size() < kLength) return 0;
  return kLength + static_cast<unsigned char>(bytes[0]) * 256U +
         static_cast<unsigned char>(bytes[1]);
}

}  // namespace

void Stream::feed(std::string_view bytes,
                  const std::function<void(std::string_view message)>& take) {
  while (!bytes.empty()) {
    if (unfinished_.empty()) {
      const std::size_t size = size_of(bytes);
      if (size == 0 || bytes.size() < size) {
        unfinished_ = bytes;
        return;
      }
      take(bytes.substr(kLength, size - kLength));
      bytes.remove_prefix(size);
      continue;
    }
    const std::size_t known = size_of(unfinished_);
    const std::size_t wanted =
        std::min((known ? known : kLength) - unfinished_.size(), bytes.size());
    unfinished_.append(bytes.substr(0, wanted));
    bytes.remove_prefix(wanted);
    if (const std::size_t size = size_of(unfinished_); size == 0 || unfinished_.size() < size)
      continue;
    take(std::string_view(unfinished_).substr(kLength));
    unfinished_.clear();
  }
}

}  // namespace mitm::dns
