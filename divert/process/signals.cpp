// The self-pipe. Flags beside it, so that a full pipe loses nothing.
#include "divert/process/signals.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>

#include <unistd.h>

namespace divert {
namespace {

/// What the handler may touch, on whatever thread it runs.
std::array<std::atomic<bool>, NSIG> reached;
std::atomic<int> bell_to_ring = -1;
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void remember(int number) {
  const int error = errno;
  reached[static_cast<std::size_t>(number)] = true;
  (void)!::write(bell_to_ring, "", 1);
  errno = error;
}

}  // namespace

base::Result<Signals> Signals::watch(std::span<const int> numbers) {
  auto bell = base::make_pipe(base::Blocking::no);
  if (!bell) return bell.error();
  bell_to_ring = bell->in.get();
  Signals signals{std::move(*bell), numbers};
  struct sigaction action {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  for (const int number : numbers) {
    reached[static_cast<std::size_t>(number)] = false;
    if (::sigaction(number, &action, nullptr) != 0)
      return base::os_error("cannot watch signals", errno);
  }
  return signals;
}

Signals::~Signals() {
  if (bell_.in) bell_to_ring = -1;
}

std::vector<int> Signals::take() {
  // First the bell: a signal that comes meanwhile rings again.
  char rings[256];
  while (::read(descriptor(), rings, sizeof rings) > 0) {
  }
  std::vector<int> numbers;
  for (const int number : numbers_) {
    if (reached[static_cast<std::size_t>(number)].exchange(false)) numbers.push_back(number);
  }
  return numbers;
}

}  // namespace divert
