#include "mitm/intercept/context/quic_refusals.h"

#include <fmt/format.h>

namespace mitm::intercept {

bool QuicRefusals::is_first(const Who& who, const std::string& host) {
  const std::lock_guard lock{mutex_};
  std::pair key{fmt::format("{} {}", who.uid, who.program), host};
  if (seen_.contains(key)) return false;
  if (seen_.size() >= kMax) seen_.clear();
  seen_.insert(std::move(key));
  return true;
}

}  // namespace mitm::intercept
