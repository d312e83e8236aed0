// A question is attributed at once, while its socket lives; its answer goes to the program that
// asked.
#include "divert/packet/dns_tap.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>

#include <poll.h>

#include "divert/process/thread_priority.h"

namespace divert {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint16_t kDnsPort = 53;
constexpr int kIdleMs = 100;
/// A thread that has not ended by then hangs.
constexpr std::chrono::seconds kEndTimeout{1};

}  // namespace

void Questions::asked(const FlowKey& key, const Ruling& ruling, Time now) {
  while (!order_.empty() &&
         (now - order_.begin()->first > kQuestionTtl || entries_.size() >= kMax)) {
    const auto oldest = entries_.find(order_.begin()->second);
    if (oldest != entries_.end() && oldest->second.asked == order_.begin()->first)
      entries_.erase(oldest);
    order_.erase(order_.begin());
  }
  entries_.insert_or_assign(key, Entry{ruling, now});
  order_.emplace(now, key);
}

void Questions::does_not_matter(const FlowKey& key, Time now) {
  // Another program asks from there now.
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
  return found != entries_.end() && now - found->second.asked <= kQuestionTtl
             ? &found->second.ruling
             : nullptr;
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

std::chrono::milliseconds SearchBudget::left(Clock::time_point now) {
  if (now - began_ >= std::chrono::seconds{1}) {
    began_ = now;
    spent_ = {};
  }
  const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(kEachSecond - spent_);
  return std::clamp(rest, std::chrono::milliseconds{0}, kLongest);
}

struct DnsTap::Shared {
  /// The questions of one CPU, or all answers.
  struct Lane {
    PacketLog log;
    std::optional<procmap::Attributor> attributor;
    SearchBudget budget;
    std::atomic<bool> busy{
        false};  ///< set before copies are taken out of `log`, cleared when they are heard

    explicit Lane(PacketLog from) : log(std::move(from)) {}
    [[nodiscard]] bool has_caught_up() const {
      pollfd readable{log.descriptor(), POLLIN, 0};
      return ::poll(&readable, 1, 0) == 0 && !busy;
    }
  };

  void run(Lane& lane);
  procmap::Owner owner_of(Lane& lane, const FlowKey& key);
  void take(Lane& lane, std::string_view bytes);
  void asked(const FlowKey& key, procmap::Owner owner, std::string_view payload,
             Questions::Time now);

  std::deque<Lane> lanes;
  Judge judge;
  Hear hear;
  std::mutex mutex;  ///< judge and hear are called with it, and not once it stops
  std::condition_variable ended;
  Questions questions;
  std::atomic<bool> stopping{false};
  std::atomic<std::uint64_t> lost{0};
  unsigned running = 0;
};

DnsTap::DnsTap(std::vector<PacketLog> logs) : shared_(std::make_shared<Shared>()) {
  for (auto& log : logs) shared_->lanes.emplace_back(std::move(log));
}

DnsTap::~DnsTap() {
  bool ended = false;
  {
    std::unique_lock lock{shared_->mutex};
    shared_->stopping = true;
    ended = shared_->ended.wait_for(lock, kEndTimeout, [this] { return shared_->running == 0; });
  }
  for (auto& thread : threads_) ended ? thread.join() : thread.detach();
}

std::vector<std::uint16_t> DnsTap::question_groups() const {
  std::vector<std::uint16_t> groups;
  for (const auto& lane : shared_->lanes) groups.push_back(lane.log.group());
  groups.pop_back();
  return groups;
}

std::uint16_t DnsTap::answer_group() const {
  return shared_->lanes.back().log.group();
}

void DnsTap::catch_up(std::chrono::milliseconds limit) const {
  constexpr std::chrono::milliseconds kCheck{1};
  const auto deadline = Clock::now() + limit;
  const auto caught_up = [](const Shared::Lane& lane) { return lane.has_caught_up(); };
  while (!std::ranges::all_of(shared_->lanes, caught_up) && Clock::now() < deadline)
    std::this_thread::sleep_for(kCheck);
}

std::uint64_t DnsTap::lost() const {
  return shared_->lost;
}

base::Result<> DnsTap::start(Judge judge, Hear hear) {
  shared_->judge = std::move(judge);
  shared_->hear = std::move(hear);
  for (auto& lane : shared_->lanes) {
    auto attributor = procmap::Attributor::open();
    if (!attributor) return attributor.error();
    lane.attributor = std::move(*attributor);
  }
  shared_->running = static_cast<unsigned>(shared_->lanes.size());
  for (unsigned i = 0; i < shared_->lanes.size(); ++i) {
    threads_.emplace_back([shared = shared_, i] {
      const bool answers = i + 1 == shared->lanes.size();
      name_thread(answers ? "answers" : "names");
      // A resolver on this machine answers within microseconds, and the program closes its socket:
      // this thread must be first, to find the owner. Where that is not to be had, some
      // questions are missed. Answers come from the network and have time.
      if (!answers) stay_on(i);
      if (!answers) run_first();
      shared->run(shared->lanes[i]);
      const std::lock_guard lock{shared->mutex};
      --shared->running;
      shared->ended.notify_all();
    });
  }
  return {};
}

void DnsTap::Shared::run(Lane& lane) {
  while (!stopping) {
    pollfd readable{lane.log.descriptor(), POLLIN, 0};
    ::poll(&readable, 1, kIdleMs);
    lane.busy = true;
    const auto gone = lane.log.receive([&](std::string_view bytes) { take(lane, bytes); });
    lane.busy = false;
    // Copies are a bonus: without them interception goes on.
    if (!gone) return;
    if (*gone) ++lost;
  }
}

void DnsTap::Shared::take(Lane& lane, std::string_view bytes) {
  const auto head = parse_packet(bytes);
  if (!head || !head->key.udp || head->payload.empty()) return;
  const auto now = Clock::now();
  if (head->key.destination.port() == kDnsPort) {
    {
      const std::lock_guard lock{mutex};
      if (!questions.matters(head->key, now)) return;
    }
    return asked(head->key, owner_of(lane, head->key), head->payload, now);
  }
  const FlowKey question{head->key.destination, head->key.source, true};
  const std::lock_guard lock{mutex};
  if (stopping) return;
  if (const Ruling* asker = questions.asker(question, now)) {
    hear({question, *asker, true, std::string(head->payload), now});
  } else {
    questions.answered_early(question, std::string(head->payload), now);
  }
}

procmap::Owner DnsTap::Shared::owner_of(Lane& lane, const FlowKey& key) {
  const procmap::SocketQuery sought{key.source, key.destination, procmap::Transport::udp};
  const auto began = Clock::now();
  const auto limit = lane.budget.left(began);
  if (limit.count() > 0) {
    auto owner = lane.attributor->owner_of(sought, limit);
    lane.budget.spend(Clock::now() - began);
    return owner;
  }
  auto cached = lane.attributor->cached_owner(sought);
  if (cached.needs_search) cached.owner.in_time = false;
  return std::move(cached.owner);
}

/// Under the lock, so that question and answers are heard in order.
void DnsTap::Shared::asked(const FlowKey& key, procmap::Owner owner, std::string_view payload,
                           Questions::Time now) {
  const std::lock_guard lock{mutex};
  if (stopping) return;
  const Ruling ruling = judge(std::move(owner), key);
  const auto& verdict = ruling.verdict;
  // What a rule lets pass is shown, and its connections are called by the names that were looked
  // up.
  const bool is_shown = verdict.action == Action::intercept ||
                        (verdict.action == Action::pass && verdict.rule != Verdict::kNoRule);
  if (!is_shown) {
    // One that could not be found may be found when the question is asked again.
    return ruling.owner.process ? questions.does_not_matter(key, now) : questions.forget(key);
  }
  questions.asked(key, ruling, now);
  hear({key, ruling, false, std::string(payload), now});
  for (auto& early : questions.early_answers(key, Clock::now()))
    hear({key, ruling, true, std::move(early.payload), early.came});
}

}  // namespace divert
