// Counting refusals per user, program and host. A table of a thousand is searched in full only when
// it is full.
#include "mitm/intercept/context/pinning_cache.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"

namespace mitm::intercept {
namespace {

/// Of a refusal that leaves no doubt. A scanner, or `openssl s_client </dev/null`, offers no ALPN
/// and leaves as a program does that compares keys: that is worth half.
constexpr unsigned kFull = 2;

unsigned weight_of(Refusal refusal) {
  return refusal == Refusal::looked ? kFull / 2 : kFull;
}

std::string counted(std::chrono::seconds::rep number, std::string_view unit) {
  return fmt::format("{} {}{}", number, unit, number == 1 ? "" : "s");
}

}  // namespace

std::string_view to_string(Refusal refusal) {
  switch (refusal) {
    case Refusal::unknown_ca:
      return "alert unknown ca";
    case Refusal::bad_certificate:
      return "alert bad certificate";
    case Refusal::certificate_unknown:
      return "alert certificate unknown";
    case Refusal::closed:
      return "closed the connection right after it";
    case Refusal::looked:
      return "closed the connection right after it, without ALPN";
    case Refusal::none:
      break;
  }
  return "none";
}

std::string in_words(std::chrono::seconds time) {
  const auto count = time.count();
  if (count >= 3600 && count % 3600 == 0) return counted(count / 3600, "hour");
  if (count >= 60 && count % 60 == 0) return counted(count / 60, "minute");
  return counted(count, "second");
}

std::string PinningCache::refused(const Who& who, std::string_view host, Refusal refusal,
                                  Time now) {
  if (refusal == Refusal::none || settings_.ttl.count() == 0 || who.program.empty() || host.empty())
    return {};
  if (refusal == Refusal::unknown_ca && !settings_.ca_trusted) return {};
  std::unique_lock lock{mutex_};
  const Key key{who.uid, who.program, host};
  if (is_silent(refusal) && trusting_.contains(key)) return {};
  if (!entries_.contains(key)) make_room(now);
  Entry& entry = entries_[key];
  if (entry.program.empty() || entry.until < now) {
    entry = {};
    entry.uid = who.uid;
    entry.program = who.program;
    entry.host = host;
  }
  const bool passed = entry.passes;
  std::string follows = count(entry, refusal, now);
  empty_ = false;
  if (!entry.passes) return follows;
  ++version_;
  const Entry passing = entry;
  lock.unlock();
  changed();
  if (!passed && on_pass_) on_pass_(passing);
  return follows;
}

std::string PinningCache::count(Entry& entry, Refusal refusal, Time now) const {
  const unsigned needed = kFull * settings_.after, weight = weight_of(refusal);
  entry.refusal = refusal;
  entry.until = now + settings_.ttl;
  entry.weight += weight;
  ++entry.failures;
  entry.passes = entry.weight >= needed;
  if (entry.passes)
    return fmt::format("it passes for {} now (see osproxy learned)", in_words(settings_.ttl));
  const unsigned more = (needed - entry.weight + weight - 1) / weight;
  return fmt::format("refusal {} of {}, then it passes", entry.failures, entry.failures + more);
}

/// For one more entry.
void PinningCache::make_room(Time now) {
  if (entries_.size() < kMax) return;
  std::erase_if(entries_, [now](const auto& item) { return item.second.until < now; });
  if (entries_.size() < kMax) return;
  // Whoever is only counted goes before whoever passes.
  entries_.erase(std::ranges::min_element(entries_, {}, [](const auto& item) {
    return std::pair(item.second.passes, item.second.until);
  }));
  ++version_;
}

void PinningCache::accepted(const Who& who, std::string_view host, Time now) {
  if (who.program.empty() || host.empty()) return;
  std::unique_lock lock{mutex_};
  const Key key{who.uid, who.program, host};
  if (trusting_.size() >= kMax && !trusting_.contains(key))
    trusting_.erase(
        std::ranges::min_element(trusting_, {}, [](const auto& item) { return item.second; }));
  trusting_[key] = now;
  const bool dropped = drop(key);
  lock.unlock();
  if (dropped) changed();
}

bool PinningCache::trusts(const Who& who, std::string_view host) const {
  const std::lock_guard lock{mutex_};
  return trusting_.contains(Key{who.uid, who.program, host});
}

std::string PinningCache::reason_to_pass(const Who& who, std::string_view host, Time now) const {
  if (empty_) return {};
  const std::lock_guard lock{mutex_};
  const auto found = entries_.find(Key{who.uid, who.program, host});
  if (found == entries_.end() || !found->second.passes || found->second.until < now) return {};
  return fmt::format("learned: refused osproxy's certificate {} times ({}); until {}",
                     found->second.failures, to_string(found->second.refusal),
                     base::rfc3339(found->second.until).substr(11, 8) + "Z");
}

std::vector<PinningCache::Entry> PinningCache::list(Time now) const {
  const std::lock_guard lock{mutex_};
  std::vector<Entry> passing;
  for (const auto& [key, entry] : entries_) {
    if (entry.passes && entry.until >= now) passing.push_back(entry);
  }
  return passing;
}

void PinningCache::forget(const Who& who, std::string_view host) {
  std::unique_lock lock{mutex_};
  const bool dropped = drop(Key{who.uid, who.program, host});
  lock.unlock();
  if (dropped) changed();
}

bool PinningCache::drop(const Key& key) {
  const bool dropped = entries_.erase(key) > 0;
  if (dropped) ++version_;
  empty_ = entries_.empty();
  return dropped;
}

void PinningCache::changed() const {
  if (on_change_) on_change_();
}

}  // namespace mitm::intercept
