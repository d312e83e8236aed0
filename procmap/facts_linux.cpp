// ProcessFacts from /proc, and the parent chain with a memory: a daemon whose parents have ended
// still shows them when it was seen, or started by a process that was seen, while they lived.
#include <ctime>

#include <unistd.h>

#include "procmap/facts.h"
#include "procmap/program_names.h"

namespace procmap {
namespace {

constexpr std::size_t kMaxEntries = 8192;
constexpr std::size_t kMaxArguments = 64 << 10;
constexpr std::size_t kMaxAncestors = 64;
constexpr int kRereads = 3;

/// When the machine was booted, by the clock of now; btime of /proc/stat has whole seconds only.
/// Read once, so that a process has one start time for all readers.
std::chrono::system_clock::time_point boot_time() {
  static const auto boot = [] {
    timespec since{};
    ::clock_gettime(CLOCK_BOOTTIME, &since);
    const auto up = std::chrono::seconds{since.tv_sec} + std::chrono::nanoseconds{since.tv_nsec};
    return std::chrono::system_clock::now() -
           std::chrono::duration_cast<std::chrono::system_clock::duration>(up);
  }();
  return boot;
}

/// The ancestors of a child of `parent`.
std::vector<Ancestor> line_from(const ProcessFacts& parent) {
  const auto& older = parent.ancestors;
  const auto count = static_cast<std::ptrdiff_t>(std::min(older.size(), kMaxAncestors));
  std::vector<Ancestor> line{{parent.id, parent.exe, parent.other_names}};
  line.insert(line.end(), older.begin(), older.begin() + count);
  return line;
}

}  // namespace

FactsCache::FactsCache(const Proc& proc)
    : proc_(proc), boot_(boot_time()), ticks_per_second_(::sysconf(_SC_CLK_TCK)) {}

/// From the process up to an ancestor that is known, and down again. Not by recursion: how deep the
/// tree of processes is, its users decide.
std::shared_ptr<const ProcessFacts> FactsCache::facts_of(pid_t pid) {
  std::vector<std::shared_ptr<ProcessFacts>> line;
  std::shared_ptr<const ProcessFacts> above;
  for (pid_t next = pid; next != 0 && line.size() <= kMaxAncestors && !above;) {
    const Look look = look_at(next);
    above = look.known;
    if (!look.read) break;
    line.push_back(look.read);
    next = look.read->ppid;
  }
  const bool cut = line.size() > kMaxAncestors;
  for (auto facts = line.rbegin(); facts != line.rend(); ++facts) {
    if (above) (*facts)->ancestors = line_from(*above);
    above = *facts;
    // An ancestor whose own ones were not looked for is asked for them another time.
    if (!cut || facts + 1 == line.rend()) keep(above);
  }
  return above;
}

FactsCache::Look FactsCache::look_at(pid_t pid) {
  auto stat = proc_.stat(pid);
  const auto found = entries_.find(pid);
  if (!stat) {
    forget(pid);
    return {};
  }
  const bool same_process =
      found != entries_.end() && found->second.facts->id.start_ticks == stat->start_ticks;
  if (same_process && holds(found->second, *stat)) {
    uses_.splice(uses_.begin(), uses_, found->second.use);
    return {found->second.facts, nullptr};
  }
  auto facts = read(pid, *stat);
  // What was read while execve(2) was under way may be half the one program and half the other.
  for (int i = 0; i < kRereads; ++i) {
    const auto now = proc_.stat(pid);
    if (!now || now->start_ticks != stat->start_ticks || now->image == stat->image) break;
    stat = now;
    facts = read(pid, *stat);
  }
  facts->image = stat->image;
  const bool orphan = same_process && found->second.facts->ppid != facts->ppid &&
                      !found->second.facts->ancestors.empty();
  if (!orphan) return {nullptr, std::move(facts)};
  // Its parent has ended since: the chain of then is the better one.
  facts->ancestors = found->second.facts->ancestors;
  keep(facts);
  return {std::move(facts), nullptr};
}

void FactsCache::forget(pid_t pid) {
  const auto found = entries_.find(pid);
  if (found == entries_.end()) return;
  uses_.erase(found->second.use);
  entries_.erase(found);
}

bool FactsCache::holds(const Entry& entry, const StatFields& stat) const {
  return entry.facts->id.start_ticks == stat.start_ticks && entry.facts->image == stat.image &&
         entry.facts->ppid == stat.ppid;
}

std::shared_ptr<const ProcessFacts> FactsCache::kept(pid_t pid, uid_t uid, const StatFields& stat) {
  const auto found = entries_.find(pid);
  if (found == entries_.end() || found->second.facts->uid != uid) return nullptr;
  if (!holds(found->second, stat)) return nullptr;
  uses_.splice(uses_.begin(), uses_, found->second.use);
  return found->second.facts;
}

void FactsCache::keep(std::shared_ptr<const ProcessFacts> facts) {
  const pid_t pid = facts->id.pid;
  auto [entry, added] = entries_.try_emplace(pid);
  if (added) entry->second.use = uses_.insert(uses_.begin(), pid);
  entry->second.facts = std::move(facts);
  if (entries_.size() > kMaxEntries) {
    entries_.erase(uses_.back());
    uses_.pop_back();
  }
}

std::shared_ptr<const ProcessFacts> FactsCache::facts_of(pid_t pid, uid_t uid) {
  auto facts = facts_of(pid);
  if (!facts || facts->uid == uid) return facts;
  const auto status = proc_.status(pid);
  if (!status || (status->uid == facts->uid && status->gid == facts->gid)) return facts;
  auto changed = std::make_shared<ProcessFacts>(*facts);
  changed->uid = status->uid;
  changed->gid = status->gid;
  changed->groups = status->groups;
  changed->user = names_.user(status->uid);
  changed->group = names_.group(status->gid);
  entries_.at(pid).facts = changed;
  return changed;
}

std::shared_ptr<ProcessFacts> FactsCache::read(pid_t pid, const StatFields& stat) {
  auto facts = std::make_shared<ProcessFacts>();
  facts->id = {pid, stat.start_ticks};
  facts->ppid = stat.ppid;
  if (const auto status = proc_.status(pid)) {
    facts->uid = status->uid;
    facts->gid = status->gid;
    facts->groups = status->groups;
  }
  const pid_t thread = stat.state == 'Z' ? proc_.thread_of_zombie(pid) : 0;
  const pid_t alive = thread != 0 ? thread : pid;
  facts->exe = without_deleted(proc_.link(alive, "exe"));
  facts->name = facts->exe.empty() ? stat.comm : base_name(facts->exe);
  facts->argv = parse_cmdline(proc_.text(alive, "cmdline", kMaxArguments));
  facts->other_names =
      names_in_arguments(facts->exe.empty() ? facts->name : facts->exe, facts->argv);
  facts->user = names_.user(facts->uid);
  facts->group = names_.group(facts->gid);
  facts->cgroup = parse_cgroup(proc_.text(alive, "cgroup", 16 << 10));
  facts->start_time =
      boot_ + std::chrono::microseconds{stat.start_ticks * 1'000'000 /
                                        static_cast<std::uint64_t>(ticks_per_second_)};
  return facts;
}

}  // namespace procmap
