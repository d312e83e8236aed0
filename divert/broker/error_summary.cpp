// No lookup failure is left unsaid: a kernel that cannot be asked looks like a network that is
// down.
#include "divert/broker/error_summary.h"

namespace divert {

std::optional<std::string> ErrorSummary::about(const base::Error& error) {
  ++count_;
  if (!said_.insert(error.os_code).second) return {};
  return fmt::format("{}; {}", error.text, texts_.consequence);
}

std::string ErrorSummary::summary() const {
  if (count_ == 0) return {};
  return fmt::format("{} {}", count_, count_ == 1 ? texts_.one : texts_.many);
}

}  // namespace divert
