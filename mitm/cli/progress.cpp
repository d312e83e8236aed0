#include "mitm/cli/progress.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace mitm::cli {

Progress::Progress() : shown_(::isatty(STDERR_FILENO) == 1) {}

void Progress::looked_at(std::uint64_t done, std::uint64_t total) {
  done_ = done;
  total_ = total;
  show();
}

void Progress::show() {
  if (!shown_) return;
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds{200};
  written_ = true;
  const std::string flows = fmt::format("{} flow{}", flows_, flows_ == 1 ? "" : "s");
  const double share = 100.0 * static_cast<double>(std::min(done_, total_)) /
                       static_cast<double>(std::max<std::uint64_t>(total_, 1));
  std::string line = total_ == 0 ? flows : fmt::format("{:.0f} %", share);
  if (total_ > 0 && flows_ > 0) line += ", " + flows;
  fmt::print(stderr, "\r\033[Kosproxy: {}", line);
}

void Progress::erase() {
  if (!written_) return;
  written_ = false;
  fmt::print(stderr, "\r\033[K");
}

}  // namespace mitm::cli
