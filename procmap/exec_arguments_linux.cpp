// /proc/PID/{exe,cmdline,environ}.
#include "procmap/exec_arguments.h"
#include "procmap/proc_linux.h"

namespace procmap {
namespace {

constexpr std::size_t kMost = 2 << 20;  ///< bytes; what execve(2) takes by default
constexpr std::size_t kMostWords = 100'000;

}  // namespace

ExecArguments exec_arguments(pid_t pid) {
  const auto proc = Proc::open();
  if (!proc) return {};
  return {proc->link(pid, "exe"), parse_cmdline(proc->text(pid, "cmdline", kMost), kMostWords),
          parse_cmdline(proc->text(pid, "environ", kMost), kMostWords)};
}

}  // namespace procmap
