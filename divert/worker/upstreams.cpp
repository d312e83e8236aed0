#include "divert/worker/upstreams.h"

namespace divert {

void Upstreams::put(std::uint64_t token, Upstream upstream) {
  const std::lock_guard lock{mutex_};
  made_.insert_or_assign(token, std::move(upstream));
  order_.emplace_back(Clock::now(), token);
}

std::optional<Upstream> Upstreams::take(std::uint64_t token) {
  const std::lock_guard lock{mutex_};
  auto found = made_.extract(token);
  if (!found) return std::nullopt;
  return std::move(found.mapped());
}

std::size_t Upstreams::size() const {
  const std::lock_guard lock{mutex_};
  return made_.size();
}

void Upstreams::sweep(Clock::time_point now) {
  const std::lock_guard lock{mutex_};
  while (!order_.empty() && now - order_.front().first > kUnfetchedTtl) {
    made_.erase(order_.front().second);
    order_.pop_front();
  }
}

}  // namespace divert
