// Threads that a program waits for. Only for short, bounded work. Where the machine does not allow
// what is asked here, things are a little slower.
#pragma once

namespace divert {

/// The calling thread runs on `cpu`: so it need not be woken on another one while a program on this
/// one waits for it, which takes longer than what it does. When the CPU is busy, others wait for it
/// (nice -20).
void stay_on(unsigned cpu);

/// Before everything that is not urgent (SCHED_FIFO): as soon as it is woken, even in the middle of
/// a system call of the thread that wakes it.
void run_first();

/// The calling thread's name, for debuggers; at most 15 letters.
void name_thread(const char* name);

/// What this process uses from now on is not paged out, where the system can pin pages as they are
/// touched.
void stay_in_memory();

}  // namespace divert
