// macOS does not let a thread choose its CPU, and has no mlockall(2).
#include <pthread.h>

#include "divert/process/thread_priority.h"

namespace divert {

void stay_on(unsigned /*cpu*/) {}

void run_first() {
  ::pthread_set_qos_class_self_np(QOS_CLASS_USER_INTERACTIVE, 0);
}

void name_thread(const char* name) {
  ::pthread_setname_np(name);
}

void stay_in_memory() {}

}  // namespace divert
