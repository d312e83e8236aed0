// The kernel tells a ring's registered files in /proc/PID/fdinfo/N, unless the ring is in use at
// that moment.
#include "procmap/io_uring_linux.h"

#include <algorithm>

#include <fmt/format.h>
#include <unistd.h>

namespace procmap {
namespace {

/// A ring with the most registered files that the kernel allows, and all its entries in flight.
constexpr std::size_t kMaxText = 8 << 20;
constexpr std::size_t kLately = 16;
/// A submission holds the ring for microseconds.
constexpr int kTries = 5;
constexpr useconds_t kPauseUs = 500;

}  // namespace

std::vector<std::uint32_t> Rings::sockets_of(const Ring& ring, Clock::time_point deadline) const {
  const std::string name = fmt::format("fdinfo/{}", ring.descriptor);
  for (int i = 0; i < kTries && Clock::now() <= deadline; ++i) {
    if (i > 0) ::usleep(kPauseUs);
    const std::string text = proc_.text(ring.pid, name.c_str(), kMaxText);
    if (text.empty()) break;
    if (auto sockets = parse_ring_sockets(text)) return std::move(*sockets);
  }
  return {};
}

bool Rings::holds(const Ring& ring, std::uint32_t inode, Clock::time_point deadline) const {
  const auto sockets = sockets_of(ring, deadline);
  return std::ranges::find(sockets, inode) != sockets.end();
}

void Rings::remember(const Ring& ring) {
  std::erase_if(lately_, [&](const Ring& known) {
    return known.pid == ring.pid && known.descriptor == ring.descriptor;
  });
  lately_.push_front(ring);
  if (lately_.size() > kLately) lately_.pop_back();
}

std::optional<Rings::Ring> Rings::find_lately(std::uint32_t inode, Clock::time_point deadline) {
  for (std::size_t i = 0; i < lately_.size();) {
    const Ring ring = lately_[i];
    const auto descriptors = proc_.descriptors(ring.pid);
    if (!descriptors || !descriptors.file_at(ring.descriptor).ring) {
      lately_.erase(lately_.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    if (holds(ring, inode, deadline)) {
      remember(ring);
      return ring;
    }
    ++i;
  }
  return std::nullopt;
}

std::optional<Rings::Ring> Rings::find(std::uint32_t inode, Clock::time_point deadline,
                                       bool& in_time) {
  const auto pids = proc_.pids();
  for (auto pid = pids.rbegin(); pid != pids.rend() && in_time; ++pid) {
    const auto descriptors = proc_.descriptors(*pid);
    in_time = Clock::now() <= deadline;
    if (!descriptors) continue;
    for (const int number : descriptors.numbers()) {
      if (!descriptors.file_at(number).ring) continue;
      const Ring ring{*pid, number};
      if (holds(ring, inode, deadline)) {
        remember(ring);
        return ring;
      }
      // One user can have thousands of rings, each with many registered files.
      in_time = Clock::now() <= deadline;
      if (!in_time) break;
    }
  }
  return std::nullopt;
}

}  // namespace procmap
