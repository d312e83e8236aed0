// pthread_setaffinity_np(3), sched(7), setpriority(2), mlockall(2).
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "divert/process/thread_priority.h"

namespace divert {

void stay_on(unsigned cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  ::pthread_setaffinity_np(::pthread_self(), sizeof one, &one);
  constexpr int kMostFavoured = -20;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kMostFavoured);
}

void run_first() {
  const sched_param first{.sched_priority = 1};
  ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &first);
}

void name_thread(const char* name) {
  ::pthread_setname_np(::pthread_self(), name);
}

void stay_in_memory() {
  ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

}  // namespace divert
