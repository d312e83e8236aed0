#include "divert/worker/upstreams.h"

namespace divert {

void Upstreams::put(std::uint64_t token, base::UniqueFd socket) {
  const std::lock_guard lock{mutex_};
  sockets_.insert_or_assign(token, std::move(socket));
  order_.emplace_back(Clock::now(), token);
}

base::UniqueFd Upstreams::take(std::uint64_t token) {
  const std::lock_guard lock{mutex_};
  auto found = sockets_.extract(token);
  return found ? std::move(found.mapped()) : base::UniqueFd{};
}

std::size_t Upstreams::size() const {
  const std::lock_guard lock{mutex_};
  return sockets_.size();
}

void Upstreams::sweep(Clock::time_point now) {
  const std::lock_guard lock{mutex_};
  while (!order_.empty() && now - order_.front().first > kUnfetchedTtl) {
    sockets_.erase(order_.front().second);
    order_.pop_front();
  }
}

}  // namespace divert
