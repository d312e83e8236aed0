// Noticed at each connection that passes: nothing is done any more when the list is full.
#include "divert/packet/passed_programs.h"

#include <fmt/format.h>

#include "base/text.h"
#include "procmap/program_names.h"

namespace divert {
namespace {

constexpr std::size_t kLongest = 60;

/// An interpreter with its script.
std::string name_of(const procmap::ProcessFacts& process) {
  std::string name = process.name.substr(0, kLongest);
  if (!process.other_names.empty()) {
    const std::string& other = process.other_names.back();
    name += fmt::format(" ({})", procmap::base_name(other).substr(0, kLongest));
  }
  return base::printable(name);
}

}  // namespace

void PassedPrograms::notice(const Ruling& ruling) {
  const Verdict& verdict = ruling.verdict;
  const bool was_not_selected = ruling.owner.process && verdict.action == Action::pass &&
                                verdict.rule == Verdict::kNoRule && verdict.by_host.empty();
  if (!was_not_selected || full_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock{mutex_};
  names_.insert(name_of(*ruling.owner.process));
  if (names_.size() >= kMost) full_.store(true, std::memory_order_relaxed);
}

std::string PassedPrograms::list() const {
  const std::lock_guard lock{mutex_};
  return fmt::format("{}", fmt::join(names_, ", "));
}

}  // namespace divert
