#include "divert/broker/command_run.h"

#include <cerrno>

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include "divert/broker/journal.h"

namespace divert {

base::Result<> CommandRun::hold() {
  if (!command_) return {};
  auto held = HeldCommand::start(*command_);
  if (!held) return held.error();
  held_ = std::move(*held);
  pid_ = held_->pid();
  return {};
}

ExecScope CommandRun::capture() const {
  return {command_->cgroup.id, process_id_of(pid_), command_->cgroup.gid.value_or(0)};
}

base::Result<> CommandRun::release() {
  if (!held_) return {};
  terminal_.give_to(pid_);
  auto released = held_->release();
  held_.reset();
  released_ = released.has_value();
  return released;
}

void CommandRun::forward(int signal) const {
  const bool to_group = signal != SIGTERM && signal != SIGUSR1 && signal != SIGUSR2;
  ::kill(to_group ? -pid_ : pid_, signal);
}

void CommandRun::go_on() {
  if (pid_ == 0) return;
  terminal_.give_to(pid_);
  ::kill(-pid_, SIGCONT);
}

std::vector<std::string> CommandRun::ended(int status) {
  pid_ = 0;
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  terminal_.take_back();
  std::vector<std::string> said;
  if (wait_ && command_->cgroup.name.empty() && !command_->cgroup.gid)
    said.emplace_back(
        "--wait: without cgroups of version 2 descendants cannot be told; not waiting");
  const auto left = processes_in(command_->cgroup).size();
  if (left > 0) {
    said.push_back(fmt::format(
        fmt::runtime(
            wait_ ? "{} ended; waiting for {} of its descendants (--wait), Ctrl-C ends it now"
                  : "{} ended; {} of its descendants go "
                    "on without interception (--wait stays with them)"),
        command_->argv.front(), left));
  }
  return said;
}

bool CommandRun::is_over() const {
  return released_ && pid_ == 0 && (!wait_ || processes_in(command_->cgroup).empty());
}

void CommandRun::kill() {
  if (!held_) return;
  ::kill(held_->pid(), SIGKILL);
  held_.reset();
}

}  // namespace divert
