#include "divert/process/signals.h"

#include <algorithm>
#include <array>

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/signals_blocked.h"
#include "base/subprocess.h"
#include "tests/test.h"

namespace {

bool readable(const divert::Signals& signals) {
  pollfd ask{signals.descriptor(), POLLIN, 0};
  return ::poll(&ask, 1, 0) == 1;
}

/// The exit status of `body` in a child: whatever it does to signals stays there.
template <class Body>
int in_child(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

constexpr std::array kWatched{SIGUSR1, SIGUSR2, SIGTERM};

}  // namespace

TEST_CASE("signals: each that has come is reported once, in the order in which they were named") {
  CHECK(in_child([] {
          auto signals = divert::Signals::watch(kWatched);
          if (!signals || readable(*signals)) return false;
          for (const int number : {SIGTERM, SIGUSR1, SIGUSR1}) ::raise(number);
          return readable(*signals) && signals->take() == std::vector{SIGUSR1, SIGTERM} &&
                 !readable(*signals) && signals->take().empty();
        }) == 0);
}

TEST_CASE("signals: so many that the pipe is full lose none") {
  CHECK(in_child([] {
          auto signals = divert::Signals::watch(kWatched);
          for (int i = 0; i < 100'000; ++i) ::raise(SIGUSR1);
          ::raise(SIGTERM);
          return signals->take() == std::vector{SIGUSR1, SIGTERM} && !readable(*signals);
        }) == 0);
}

TEST_CASE("signals: once they are no longer watched they have no effect") {
  CHECK(in_child([] {
          { const auto signals = divert::Signals::watch(kWatched); }
          ::raise(SIGTERM);
          return true;
        }) == 0);
}

TEST_CASE("signals: a child that restores them ends of one that came while they were blocked") {
  CHECK(in_child([] {
          auto signals = divert::Signals::watch(kWatched);
          return in_child([] {
                   const base::SignalsBlocked until_restored;
                   ::raise(SIGTERM);
                   base::restore_signals();
                   return true;
                 }) == 128 + SIGTERM &&
                 signals->take().empty();
        }) == 0);
}
