// What sudo keeps from osproxy of the environment of the user who typed it; a line with sudo.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mitm/cli/command_line.h"
#include "procmap/exec_arguments.h"

namespace mitm::cli {

struct CallersEnvironment {
  std::optional<std::string> path;                             ///< PATH, where sudo has set another
  std::vector<std::pair<std::string, std::string>> variables;  ///< those of `names` that are gone

  bool operator==(const CallersEnvironment&) const = default;
};

/// sudo and doas still have the environment in which they were started: `parent`, if it is one of
/// them and has started osproxy with the words `typed`. Nothing where the caller has chosen an
/// environment (`sudo env ... osproxy`), and nothing that was named (`sudo PATH=... osproxy`).
/// `own`: the value in our own environment, null if none.
CallersEnvironment dropped_by_sudo(const procmap::ExecArguments& parent,
                                   std::span<const std::string> typed,
                                   std::span<const std::string_view> names,
                                   const char* (*own)(const char*));

/// The same of the process that has started us: XDG_STATE_HOME, and for exec the variables of
/// trust::variable_names(). Sets these in our own environment, for what is done with the user's
/// rights; PATH stays. Before those rights are taken: another user's environment is read by root.
CallersEnvironment restore_callers_environment(const Invocation& invocation);

/// "sudo osproxy ..." with what was typed, as a shell takes it.
[[nodiscard]] std::string with_sudo(const Invocation& invocation);

/// What to add to "cannot run CMD", which was not found: the quotes of "curl URL", or the PATH that
/// sudo has set. Empty: nothing.
std::string hint_not_found(const Invocation& invocation, const CallersEnvironment& callers);

}  // namespace mitm::cli
