// Answers come in either order, so an empty one may have to wait for the other.
#include "mitm/format/dns_repeats.h"

#include <algorithm>

namespace mitm::format {
namespace {

enum class Outcome : std::uint8_t { records, empty, failure };

Outcome outcome_of(const flow::DnsFlow& dns) {
  if (dns.rcode != "NOERROR" || !dns.error.empty()) return Outcome::failure;
  const bool found =
      std::ranges::any_of(dns.answers, [&](const auto& answer) { return answer.type == dns.type; });
  return found ? Outcome::records : Outcome::empty;
}

bool of_addresses(const flow::DnsFlow& dns) {
  return dns.type == "A" || dns.type == "AAAA";
}

/// Lookups that one call of getaddrinfo(3), or of what programs have in its place, makes together.
bool made_together(const flow::DnsFlow& one, const flow::DnsFlow& other,
                   std::chrono::seconds window) {
  const auto& process = one.connection->process;
  const auto& others_process = other.connection->process;
  if (!process != !others_process || (process && process->id != others_process->id)) return false;
  const auto apart = one.began > other.began ? one.began - other.began : other.began - one.began;
  return one.name == other.name && one.type != other.type && apart <= window;
}

}  // namespace

bool DnsRepeats::covers(const Seen& other, const flow::DnsFlow& dns) {
  const Outcome others = outcome_of(*other.flow);
  switch (outcome_of(dns)) {
    case Outcome::records:
      return false;
    case Outcome::failure:
      return others == Outcome::failure && other.flow->rcode == dns.rcode &&
             other.flow->error == dns.error;
    case Outcome::empty:
      return others != Outcome::empty || !other.kept || !of_addresses(dns);
  }
  return false;
}

bool DnsRepeats::shows(const Flow& dns) {
  if (!of_addresses(*dns) && dns->type != "HTTPS") return true;
  forget_before(dns->began - kWindow);
  if (seen_.size() >= kMost) return true;
  const auto together = [&](const Seen& it) { return made_together(*dns, *it.flow, kWindow); };
  if (std::ranges::any_of(seen_, [&](const Seen& it) { return together(it) && covers(it, *dns); }))
    return false;
  const auto waits = [&](const Seen& it) { return it.kept && together(it); };
  // Neither kind of address exists: that is news.
  const bool neither = std::ranges::any_of(
      seen_, [&](const Seen& it) { return waits(it) && of_addresses(*it.flow); });
  std::erase_if(seen_, waits);
  const bool shown = outcome_of(*dns) != Outcome::empty || neither;
  seen_.push_back({dns, !shown});
  return shown;
}

std::list<DnsRepeats::Flow> DnsRepeats::take_overdue(flow::Time now) {
  std::list<Flow> overdue;
  for (auto it = seen_.begin(); it != seen_.end();) {
    if (!it->kept || now - it->flow->began <= kWindow) {
      ++it;
      continue;
    }
    overdue.push_back(std::move(it->flow));
    it = seen_.erase(it);
  }
  return overdue;
}

std::list<DnsRepeats::Flow> DnsRepeats::take_all() {
  return take_overdue(flow::Time::max());
}

void DnsRepeats::forget_before(flow::Time time) {
  std::erase_if(seen_, [&](const Seen& it) { return !it.kept && it.flow->began < time; });
}

}  // namespace mitm::format
