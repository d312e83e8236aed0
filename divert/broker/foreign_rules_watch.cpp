#include "divert/broker/foreign_rules_watch.h"

#include <algorithm>

namespace divert {

ForeignRulesWatch::News ForeignRulesWatch::tick(Clock::time_point now) {
  if (asks_.changed()) next_ = std::min(next_, std::max(now + kSettle, earliest_));
  if (!looking_ && now >= next_) {
    looking_ = asks_.look();
    next_ = now + kAnyway;
  }
  if (!looking_ || looking_->wait_for(std::chrono::seconds{0}) != std::future_status::ready)
    return {};
  const Looked looked = looking_->get();
  looking_.reset();
  constexpr int kShare = 20;  // of the time at most one part in so many
  earliest_ = now + std::max<Clock::duration>(kBetween, kShare * looked.took);
  next_ = std::max(next_, earliest_);
  return looked.standing ? compare(*looked.standing) : News{};
}

ForeignRulesWatch::News ForeignRulesWatch::compare(const pfctl::Standing& standing) {
  News news;
  const auto missing_in = [](const std::vector<std::string>& list) {
    return [&list](const std::string& line) { return std::ranges::find(list, line) == list.end(); };
  };
  std::ranges::copy_if(standing.conflicts, std::back_inserter(news.lines), missing_in(told_));
  const auto over = missing_in(standing.conflicts);
  for (const auto& line : told_) {
    if (over(line)) news.lines.push_back("no longer: " + line);
  }
  told_ = standing.conflicts;
  news.lost = !standing.in_force;
  if (news.lost) news.lines.push_back(standing.found);
  return news;
}

}  // namespace divert
