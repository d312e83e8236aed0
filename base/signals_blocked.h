// A thread on which no signal is handled.
#pragma once

#include <initializer_list>

#include <pthread.h>
#include <signal.h>

namespace base {

/// Blocks all signals but those of faults on the calling thread, while it lives: a thread that is
/// started meanwhile has them blocked for good. A handler would wait as long as write(2) does;
/// SIGTTOU would stop us when a command of ours owns the terminal.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP})
      sigdelset(&all, fault);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace base
