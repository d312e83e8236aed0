// As facts_linux.cpp, for systems without /proc: whether what is kept still holds is seen from the
// process's record and path. The parent chain has a memory: a daemon whose parents have ended still
// shows them when it was seen while they lived.
#include "procmap/process_cache.h"

#include <functional>

#include "procmap/program_names.h"

namespace procmap {
namespace {

constexpr std::size_t kMaxEntries = 8192;
constexpr std::size_t kMaxAncestors = 64;
constexpr int kRereads = 3;

std::uint64_t image_of(const ProcessRecord& record, const std::string& path) {
  return record.image ^ std::hash<std::string>{}(path + '\0' + record.comm);
}

bool holds(const ProcessFacts& facts, const ProcessRecord& record, std::uint64_t image) {
  return facts.id == record.id && facts.image == image && facts.ppid == record.ppid &&
         facts.uid == record.uid && facts.gid == record.gid;
}

}  // namespace

ProcessCache::ProcessCache(ProcessSource source) : source_(std::move(source)) {}

std::shared_ptr<const ProcessFacts> ProcessCache::facts_of(pid_t pid) {
  return facts_of(pid, 0);
}

std::shared_ptr<const ProcessFacts> ProcessCache::kept_facts_of(pid_t pid) {
  const auto found = entries_.find(pid);
  if (found == entries_.end()) return nullptr;
  const auto& facts = found->second.facts;
  const auto record = source_.record(pid);
  if (!record || !holds(*facts, *record, image_of(*record, source_.path(pid)))) return nullptr;
  uses_.splice(uses_.begin(), uses_, found->second.use);
  return facts;
}

void ProcessCache::learn(std::shared_ptr<const ProcessFacts> facts) {
  keep(std::move(facts));
}

std::shared_ptr<const ProcessFacts> ProcessCache::facts_of(pid_t pid, std::size_t depth) {
  auto record = source_.record(pid);
  if (!record) {
    forget(pid);
    return nullptr;
  }
  auto path = source_.path(pid);
  const auto found = entries_.find(pid);
  const auto earlier = found != entries_.end() && found->second.facts->id == record->id
                           ? found->second.facts
                           : nullptr;
  if (earlier && holds(*earlier, *record, image_of(*record, path))) {
    uses_.splice(uses_.begin(), uses_, found->second.use);
    return earlier;
  }
  auto facts = read(*record, path);
  // What was read while execve(2) was under way may be half the one program and half the other.
  for (int i = 0; i < kRereads; ++i) {
    record = source_.record(pid);
    if (!record || record->id != facts->id) break;
    path = source_.path(pid);
    if (image_of(*record, path) == facts->image) break;
    facts = read(*record, path);
  }
  facts->ancestors = ancestors_of(*facts, earlier.get(), depth);
  keep(facts);
  return facts;
}

std::shared_ptr<ProcessFacts> ProcessCache::read(const ProcessRecord& record,
                                                 const std::string& path) {
  auto facts = std::make_shared<ProcessFacts>();
  facts->id = record.id;
  facts->ppid = record.ppid;
  facts->uid = record.uid;
  facts->gid = record.gid;
  facts->exe = path;
  facts->name = path.empty() ? record.comm : std::string(base_name(path));
  facts->argv = source_.arguments(record.id.pid);
  facts->other_names = names_in_arguments(path.empty() ? facts->name : path, facts->argv);
  facts->user = names_.user(record.uid);
  facts->group = names_.group(record.gid);
  facts->start_time = record.start_time;
  facts->image = image_of(record, path);
  return facts;
}

/// `earlier`: what was known of the same process. When its parent has ended since, the chain of
/// then is the better one.
std::vector<Ancestor> ProcessCache::ancestors_of(const ProcessFacts& facts,
                                                 const ProcessFacts* earlier, std::size_t depth) {
  if (earlier && earlier->ppid != facts.ppid && !earlier->ancestors.empty())
    return earlier->ancestors;
  if (facts.ppid == 0 || facts.ppid == facts.id.pid || depth >= kMaxAncestors) return {};
  const auto parent = facts_of(facts.ppid, depth + 1);
  if (!parent) return {};
  std::vector<Ancestor> chain{{parent->id, parent->exe, parent->other_names}};
  chain.insert(chain.end(), parent->ancestors.begin(),
               parent->ancestors.begin() +
                   static_cast<std::ptrdiff_t>(std::min(parent->ancestors.size(), kMaxAncestors)));
  return chain;
}

void ProcessCache::forget(pid_t pid) {
  const auto found = entries_.find(pid);
  if (found == entries_.end()) return;
  uses_.erase(found->second.use);
  entries_.erase(found);
}

void ProcessCache::keep(std::shared_ptr<const ProcessFacts> facts) {
  const pid_t pid = facts->id.pid;
  forget(pid);
  entries_[pid] = {std::move(facts), uses_.insert(uses_.begin(), pid)};
  if (entries_.size() > kMaxEntries) forget(pid_t{uses_.back()});
}

}  // namespace procmap
