// A question is attributed at once, while its socket lives; its answer goes to whoever asked.
#include "divert/dns_tap.h"

#include <poll.h>
#include <pthread.h>

#include "divert/urgent.h"

namespace divert {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint16_t kDnsPort = 53;
constexpr int kIdleMs = 100;
/// A search for the owner. The copies that come meanwhile wait in the socket.
/// Before everything that is not urgent, so not for long.
constexpr std::chrono::milliseconds kSearchLimit{50};

}  // namespace

void Questions::asked(const FlowKey& key, const Ruling& ruling, Time now) {
  while (!order_.empty() && (now - order_.begin()->first > kMemory || entries_.size() >= kMax)) {
    const auto oldest = entries_.find(order_.begin()->second);
    if (oldest != entries_.end() && oldest->second.asked == order_.begin()->first) entries_.erase(oldest);
    order_.erase(order_.begin());
  }
  entries_.insert_or_assign(key, Entry{ruling, now});
  order_.emplace(now, key);
}

void Questions::does_not_matter(const FlowKey& key, Time now) {
  // Somebody else asks from there now.
  entries_.erase(key);
  if (idle_.size() >= kMax) idle_.clear();
  idle_.insert_or_assign(key, now + kIdleMemory);
}

bool Questions::matters(const FlowKey& key, Time now) const {
  const auto found = idle_.find(key);
  return found == idle_.end() || found->second <= now;
}

const Ruling* Questions::asker(const FlowKey& question, Time now) const {
  const auto found = entries_.find(question);
  return found != entries_.end() && now - found->second.asked <= kMemory ? &found->second.ruling : nullptr;
}

void Questions::answered_early(const FlowKey& question, std::string payload, Time now) {
  if (early_.size() >= kMaxEarly) early_.pop_front();
  early_.push_back({question, std::move(payload), now});
}

std::vector<Questions::Early> Questions::early_answers(const FlowKey& question, Time now) {
  while (!early_.empty() && now - early_.front().came > kEarlyMemory) early_.pop_front();
  std::vector<Early> answers;
  for (auto& early : early_) {
    if (early.question == question) answers.push_back(std::move(early));
  }
  std::erase_if(early_, [&](const Early& early) { return early.question == question; });
  return answers;
}

DnsTap::DnsTap(std::vector<PacketLog> logs) {
  for (auto& log : logs) lanes_.push_back({std::move(log), {}, {}});
}

DnsTap::~DnsTap() {
  stopping_ = true;
  for (auto& lane : lanes_) {
    if (lane.thread.joinable()) lane.thread.join();
  }
}

std::vector<std::uint16_t> DnsTap::groups() const {
  std::vector<std::uint16_t> groups;
  for (const auto& lane : lanes_) groups.push_back(lane.log.group());
  return groups;
}

base::Result<> DnsTap::start(Judge judge, Hear hear) {
  judge_ = std::move(judge);
  hear_ = std::move(hear);
  for (auto& lane : lanes_) {
    auto attributor = procmap::Attributor::open();
    if (!attributor) return attributor.error();
    lane.attributor = std::move(*attributor);
  }
  for (unsigned cpu = 0; cpu < lanes_.size(); ++cpu)
    lanes_[cpu].thread = std::thread{[this, cpu] { run(lanes_[cpu], cpu); }};
  return {};
}

void DnsTap::run(Lane& lane, unsigned cpu) {
  name_thread("names");
  // A resolver on this machine answers within microseconds, and the program closes its socket: whoever wants
  // to know whose it was must be first. Where that is not to be had, some questions are missed.
  stay_on(cpu);
  run_first();
  while (!stopping_) {
    pollfd readable{lane.log.descriptor(), POLLIN, 0};
    ::poll(&readable, 1, kIdleMs);
    // Copies are a bonus: without them interception goes on.
    if (!lane.log.receive([&](std::string_view bytes) { take(lane, bytes); })) return;
  }
}

void DnsTap::take(Lane& lane, std::string_view bytes) {
  const auto head = parse_packet(bytes);
  if (!head || !head->key.udp || head->payload.empty()) return;
  const auto now = Clock::now();
  if (head->key.destination.port() == kDnsPort) {
    {
      const std::lock_guard lock{mutex_};
      if (!questions_.matters(head->key, now)) return;
    }
    const procmap::Sought sought{head->key.source, head->key.destination, procmap::Transport::udp};
    const Ruling ruling = judge_(lane.attributor->owner_of(sought, kSearchLimit), head->key);
    // Under the lock, so that question and answers are heard in order.
    const std::lock_guard lock{mutex_};
    if (ruling.verdict.action != Action::intercept) {
      // One that could not be found may be found when the question is asked again.
      return ruling.owner.process ? questions_.does_not_matter(head->key, now) : questions_.forget(head->key);
    }
    questions_.asked(head->key, ruling, now);
    hear_({head->key, ruling, false, std::string(head->payload), now});
    for (auto& early : questions_.early_answers(head->key, Clock::now()))
      hear_({head->key, ruling, true, std::move(early.payload), early.came});
    return;
  }
  const FlowKey question{head->key.destination, head->key.source, true};
  const std::lock_guard lock{mutex_};
  if (const Ruling* asker = questions_.asker(question, now)) {
    hear_({question, *asker, true, std::string(head->payload), now});
  } else {
    questions_.answered_early(question, std::string(head->payload), now);
  }
}

}  // namespace divert
