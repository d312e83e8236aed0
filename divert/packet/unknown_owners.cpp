// What is known of such a connection is its socket's user and cgroup, if that.
#include "divert/packet/unknown_owners.h"

#include <fmt/format.h>

#include "base/text.h"

namespace divert {
namespace {

bool passes_for_want_of_an_owner(const Ruling& ruling) {
  const auto& verdict = ruling.verdict;
  return !ruling.owner.process && ruling.owner.in_time && verdict.action == Action::pass &&
         verdict.rule == Verdict::kNoRule && verdict.by_host.empty();
}

std::string described(const procmap::Owner& owner) {
  if (!owner.socket) return "a socket that is gone";
  std::string text = "a socket";
  if (!owner.socket->user.empty()) text += " of user " + base::printable(owner.socket->user);
  if (!owner.socket->cgroup.empty()) text += " in cgroup " + base::printable(owner.socket->cgroup);
  return text;
}

}  // namespace

void UnknownOwners::notice(const Ruling& ruling, const FlowKey& key) {
  if (!passes_for_want_of_an_owner(ruling)) return;
  const std::lock_guard lock{mutex_};
  if (!seen_.insert(key).second) return;
  order_.push_back(key);
  if (order_.size() > kRemembered) {
    seen_.erase(order_.front());
    order_.pop_front();
  }
  ++count_;
  last_ = fmt::format("{} to {}", described(ruling.owner), base::to_string(key.destination));
}

std::string UnknownOwners::summary() const {
  const std::lock_guard lock{mutex_};
  if (count_ == 0) return {};
  return fmt::format(
      "{} connection{} passed because no process was found to own {} (the filter item unknown "
      "selects such); the last: {}",
      count_, count_ == 1 ? "" : "s", count_ == 1 ? "it" : "them", last_);
}

}  // namespace divert
