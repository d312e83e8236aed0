// cpuset_setaffinity(2), rtprio_thread(2), pthread_set_name_np(3).
#include <pthread.h>
#include <pthread_np.h>
#include <sys/cpuset.h>
#include <sys/param.h>
#include <sys/rtprio.h>

#include "divert/process/thread_priority.h"

namespace divert {

void stay_on(unsigned cpu) {
  cpuset_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  // -1: the calling thread.
  ::cpuset_setaffinity(CPU_LEVEL_WHICH, CPU_WHICH_TID, -1, sizeof one, &one);
}

void run_first() {
  struct rtprio first {};  // there is a function of that name as well
  first.type = RTP_PRIO_REALTIME;
  first.prio = RTP_PRIO_MAX;  // the least urgent of the realtime priorities
  ::rtprio_thread(RTP_SET, 0, &first);
}

void name_thread(const char* name) {
  ::pthread_set_name_np(::pthread_self(), name);
}

/// mlockall(2) here would fault in everything that is mapped, stacks included.
void stay_in_memory() {}

}  // namespace divert
