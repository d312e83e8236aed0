// A list of what is allowed, because what a kernel gets anew is then forbidden. An error, not a
// signal: a call that was forgotten is something that does not work and says so, not a worker that
// dies.
#include <bit>
#include <cerrno>
#include <cstddef>
#include <initializer_list>

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "divert/process/system_calls.h"

namespace divert {
namespace {

using Code = std::vector<FilterInstruction>;
static_assert(sizeof(FilterInstruction) == sizeof(sock_filter));

#if defined(__x86_64__)
constexpr std::uint32_t kProcessor = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kProcessor = AUDIT_ARCH_AARCH64;
#elif defined(__riscv)
constexpr std::uint32_t kProcessor = AUDIT_ARCH_RISCV64;
#else
constexpr std::uint32_t kProcessor = 0;
#endif
/// Arguments are 64 bits wide; their lower half is looked at.
constexpr bool kKnown =
    kProcessor != 0 && sizeof(void*) == 8 && std::endian::native == std::endian::little;

/// The x32 calls of x86-64 have this bit; no other processor has numbers as high.
constexpr std::uint32_t kOtherNumbers = 0x40000000;
/// Numbers from here on are younger than this list.
constexpr std::uint32_t kFirstUnknown = 451;

/// The frequent ones first: an older kernel goes through the list at each call.
constexpr int kAllowed[] = {
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_recvfrom,
    SYS_sendto,
    SYS_read,
    SYS_write,
    SYS_splice,
    SYS_epoll_pwait,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
    SYS_epoll_ctl,
    SYS_futex,
    SYS_readv,
    SYS_writev,
    SYS_accept,
    SYS_accept4,
    SYS_close,
    SYS_connect,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_shutdown,
    SYS_bind,
    SYS_listen,
    SYS_recvmmsg,
    SYS_sendmmsg,
    SYS_ppoll,
    SYS_pselect6,
#ifdef SYS_poll
    SYS_poll,
#endif
#ifdef SYS_select
    SYS_select,
#endif
    // Memory and threads.
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_set_tid_address,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_membarrier,
    SYS_exit,
    SYS_exit_group,
    SYS_restart_syscall,
#ifdef SYS_rseq
    SYS_rseq,
#endif
    // Time, signals of its own, what it asks about itself.
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrusage,
    SYS_getrandom,
    SYS_uname,
    SYS_sysinfo,
    SYS_getcpu,
    SYS_times,
    SYS_getcwd,
#ifdef SYS_time
    SYS_time,
#endif
#ifdef SYS_getrlimit
    SYS_getrlimit,
#endif
    // Descriptors and files; what may be opened is looked at below.
    SYS_dup,
    SYS_dup3,
    SYS_pipe2,
    SYS_eventfd2,
    SYS_epoll_create1,
    SYS_lseek,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_faccessat,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_flock,
    SYS_ftruncate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_fstatfs,
    SYS_statfs,
    SYS_fadvise64,
#ifdef SYS_faccessat2
    SYS_faccessat2,
#endif
#ifdef SYS_close_range
    SYS_close_range,
#endif
#ifdef SYS_dup2
    SYS_dup2,
    SYS_pipe,
    SYS_epoll_create,
    SYS_eventfd,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_getdents,
#endif
};

constexpr FilterInstruction jump(std::uint16_t comparison, std::uint32_t value,
                                 std::uint8_t if_true, std::uint8_t if_false) {
  return {static_cast<std::uint16_t>(BPF_JMP | comparison | BPF_K), if_true, if_false, value};
}
constexpr FilterInstruction answer(std::uint32_t action) {
  return {BPF_RET | BPF_K, 0, 0, action};
}
constexpr FilterInstruction fail(int code) {
  return answer(SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(code));
}
constexpr FilterInstruction load(std::size_t at) {
  return {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<std::uint32_t>(at)};
}
constexpr FilterInstruction load_argument(unsigned number) {
  return load(offsetof(seccomp_data, args) + number * sizeof(std::uint64_t));
}
/// Skips `otherwise` instructions when the value is another one; the next one is for an equal
/// value.
constexpr FilterInstruction if_equal(std::uint32_t value, std::uint8_t otherwise) {
  return jump(BPF_JEQ, value, 0, otherwise);
}
constexpr FilterInstruction if_bits(std::uint32_t bits, std::uint8_t otherwise) {
  return jump(BPF_JSET, bits, 0, otherwise);
}

constexpr FilterInstruction kAllow = answer(SECCOMP_RET_ALLOW);

/// What follows a call's number when its arguments decide. Each ends with an answer.
Code only(unsigned argument, std::initializer_list<std::uint32_t> good, int code = EPERM) {
  Code code_of{load_argument(argument)};
  for (const auto value : good) code_of.insert(code_of.end(), {if_equal(value, 1), kAllow});
  code_of.push_back(fail(code));
  return code_of;
}
Code none_of(unsigned argument, std::initializer_list<std::uint32_t> bad) {
  Code code_of{load_argument(argument)};
  for (const auto value : bad) code_of.insert(code_of.end(), {if_equal(value, 1), fail(EPERM)});
  code_of.push_back(kAllow);
  return code_of;
}
Code without_bits(unsigned argument, std::uint32_t bad) {
  return {load_argument(argument), if_bits(bad, 1), fail(EPERM), kAllow};
}
Code with_bits(unsigned argument, std::uint32_t needed) {
  return {load_argument(argument), if_bits(needed, 1), kAllow, fail(EPERM)};
}

void add(Code& program, int call, const Code& then) {
  program.push_back(
      if_equal(static_cast<std::uint32_t>(call), static_cast<std::uint8_t>(then.size())));
  program.insert(program.end(), then.begin(), then.end());
}

void add_files_and_memory(Code& program) {
  constexpr std::uint32_t kWrites = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;
  add(program, SYS_openat, without_bits(2, kWrites));
#ifdef SYS_open
  add(program, SYS_open, without_bits(1, kWrites));
#endif
  // Libraries are mapped from files (name services, character sets), to be read or executed; no
  // memory is both written and executed.
  add(program, SYS_mmap,
      {load_argument(2), if_bits(PROT_EXEC, 4), jump(BPF_JSET, PROT_WRITE, 2, 0), load_argument(3),
       if_bits(MAP_ANONYMOUS, 1), fail(EPERM), kAllow});
  add(program, SYS_mprotect, without_bits(2, PROT_EXEC));
}

void add_others(Code& program, int process) {
  constexpr std::uint32_t kSetVma = 0x53564d41;                    // PR_SET_VMA: names of mappings
  constexpr std::uint32_t kSetOwner = 0x8901, kSetGroup = 0x8902;  // FIOSETOWN, SIOCSPGRP
  constexpr std::uint32_t kSetSignal = 10, kSetOwnerEx = 15;       // F_SETSIG, F_SETOWN_EX
  // Routes: getaddrinfo(3) asks which addresses this machine has.
  add(program, SYS_socket,
      {load_argument(0), if_equal(AF_INET, 1), kAllow, if_equal(AF_INET6, 1), kAllow,
       if_equal(AF_NETLINK, 3), load_argument(2), if_equal(NETLINK_ROUTE, 1), kAllow,
       fail(EAFNOSUPPORT)});
  add(program, SYS_ioctl, none_of(1, {TIOCSTI, TIOCLINUX, TIOCSETD, kSetOwner, kSetGroup}));
  add(program, SYS_fcntl, none_of(1, {F_SETOWN, kSetOwnerEx, kSetSignal}));
  add(program, SYS_clone, with_bits(0, CLONE_THREAD));
  add(program, SYS_tgkill, only(0, {static_cast<std::uint32_t>(process)}));
  add(program, SYS_prctl, only(0, {PR_SET_NAME, PR_GET_NAME, kSetVma}));
  add(program, SYS_prlimit64, only(0, {0}));
#ifdef SYS_clone3
  // Its flags are in memory, where no filter can look: then the C library takes clone.
  add(program, SYS_clone3, {fail(ENOSYS)});
#endif
}

}  // namespace

Code system_call_filter(int process) {
  if (!kKnown) return {};
  Code program{
      load(offsetof(seccomp_data, arch)), jump(BPF_JEQ, kProcessor, 1, 0),    fail(ENOSYS),
      load(offsetof(seccomp_data, nr)),   jump(BPF_JGE, kOtherNumbers, 0, 1), fail(ENOSYS)};
  for (const int call : kAllowed) add(program, call, {kAllow});
  add_files_and_memory(program);
  add_others(program, process);
  program.push_back(jump(BPF_JGE, kFirstUnknown, 0, 1));
  program.push_back(fail(ENOSYS));
  program.push_back(fail(EPERM));
  return program;
}

}  // namespace divert
