#include "divert/packet/owner_lookups.h"

#include <utility>

#include <unistd.h>

namespace divert {

base::Result<std::unique_ptr<OwnerLookups>> OwnerLookups::start() {
  auto at_hand = procmap::Attributor::open();
  if (!at_hand) return at_hand.error();
  auto lookups = start([]() -> base::Result<OwnerLookupThread::Search> {
    auto opened = procmap::Attributor::open();
    if (!opened) return opened.error();
    const auto attributor = std::make_shared<procmap::Attributor>(std::move(*opened));
    return OwnerLookupThread::Search{
        [attributor](std::span<const procmap::SocketQuery> list, std::chrono::milliseconds) {
          return attributor->owners_of(list, kLimit);
        }};
  });
  if (lookups) (*lookups)->at_hand_ = std::move(*at_hand);
  return lookups;
}

base::Result<std::unique_ptr<OwnerLookups>> OwnerLookups::start(
    OwnerLookupThread::MakeSearch make) {
  auto bell = base::make_pipe(base::Blocking::no);
  if (!bell) return bell.error();
  std::unique_ptr<OwnerLookups> lookups{new OwnerLookups{std::move(*bell)}};
  auto searcher = OwnerLookupThread::start(
      std::move(make), [all = lookups.get()](const LookUp& wanted, procmap::Owner owner) {
        all->found(wanted.token, std::move(owner));
      });
  if (!searcher) return searcher.error();
  lookups->lookup_thread_ = std::move(*searcher);
  return lookups;
}

std::optional<procmap::Owner> OwnerLookups::cached(const FlowKey& key) {
  if (!at_hand_) return std::nullopt;
  for (const auto& owner : hints_.take()) at_hand_->learn(owner);
  auto cached = at_hand_->cached_owner(sought(key, 0));
  if (cached.needs_search) return std::nullopt;
  return std::move(cached.owner);
}

void OwnerLookups::ask(Asked asked) {
  const FlowKey key = asked.key;
  std::uint64_t token = 0;
  bool full = false;
  {
    const std::lock_guard lock{mutex_};
    full = waiting_.size() >= kMaxWaiting;
    token = next_token_++;
    waiting_.emplace(token, std::move(asked));
  }
  if (!full) return lookup_thread_->ask({key, token, 0});
  procmap::Owner unknown;
  unknown.in_time = false;
  found(token, std::move(unknown));
}

void OwnerLookups::found(std::uint64_t token, procmap::Owner owner) {
  if (owner.process) hints_.add(owner);
  const std::lock_guard lock{mutex_};
  const auto asked = waiting_.extract(token);
  if (asked.empty()) return;
  found_.push_back({std::move(asked.mapped()), std::move(owner)});
  (void)!::write(bell_.in.get(), "", 1);
}

std::vector<OwnerLookups::Found> OwnerLookups::take() {
  // First the bell: what is found meanwhile rings again.
  char rings[256];
  while (::read(bell_.out.get(), rings, sizeof rings) > 0) {
  }
  const std::lock_guard lock{mutex_};
  return std::exchange(found_, {});
}

}  // namespace divert
