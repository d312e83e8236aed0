// `exec` runs its command as the user, who expects it to be found in the PATH of the shell, and to
// trust what the shell's variables say; every command looks for sessions where the user's shell
// does. sudo resets all of it (secure_path, env_reset) for the sake of what runs as root; what is
// taken back here is used with the user's rights only.
#include "mitm/cli/callers_environment.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include <unistd.h>

#include "mitm/format/shell_words.h"
#include "mitm/trust/trust.h"
#include "procmap/program_names.h"

namespace mitm::cli {
namespace {

using Words = std::span<const std::string>;

bool is_sudo(std::string_view exe) {
  constexpr std::array<std::string_view, 3> kNames{"sudo", "sudo-rs", "doas"};
  return std::ranges::find(kNames, procmap::base_name(exe)) != kNames.end();
}

/// The words of `argv` before osproxy's own; empty: osproxy was not started with these.
Words words_before(Words argv, Words typed) {
  const std::size_t own = typed.size() + 1;
  if (argv.size() <= own || !std::ranges::equal(argv.last(typed.size()), typed)) return {};
  return argv.first(argv.size() - own);
}

bool sets_environment(Words before) {
  return std::ranges::any_of(
      before, [](const std::string& word) { return procmap::base_name(word) == "env"; });
}

std::optional<std::string_view> value_in(Words environment, std::string_view name) {
  for (const std::string& setting : environment) {
    const std::string_view text = setting;
    if (text.starts_with(name) && text.substr(name.size()).starts_with('='))
      return text.substr(name.size() + 1);
  }
  return std::nullopt;
}

const char* own_value(const char* name) {
  return std::getenv(name);
}

}  // namespace

CallersEnvironment dropped_by_sudo(const procmap::ExecArguments& parent, Words typed,
                                   std::span<const std::string_view> names,
                                   const char* (*own)(const char*)) {
  CallersEnvironment dropped;
  if (!is_sudo(parent.exe)) return dropped;
  const Words before = words_before(parent.argv, typed);
  if (before.empty() || sets_environment(before)) return dropped;
  for (const std::string_view name : names) {
    const auto value = value_in(parent.environment, name);
    const std::string key{name};
    if (value && own(key.c_str()) == nullptr && !value_in(before, name))
      dropped.variables.emplace_back(key, *value);
  }
  const auto path = value_in(parent.environment, "PATH");
  const char* const ours = own("PATH");
  if (path && ours != nullptr && *path != ours && !value_in(before, "PATH")) dropped.path = *path;
  return dropped;
}

CallersEnvironment restore_callers_environment(const Invocation& invocation) {
  if (::geteuid() != 0) return {};
  std::vector<std::string_view> names{"XDG_STATE_HOME"};
  if (invocation.command == "exec") {
    const auto trusted = trust::variable_names();
    names.insert(names.end(), trusted.begin(), trusted.end());
  }
  CallersEnvironment dropped =
      dropped_by_sudo(procmap::exec_arguments(::getppid()), invocation.argv, names, own_value);
  for (const auto& [name, value] : dropped.variables) ::setenv(name.c_str(), value.c_str(), 1);
  return dropped;
}

std::string with_sudo(const Invocation& invocation) {
  std::string line = "sudo osproxy";
  for (const auto& word : invocation.argv) line.append(" ").append(format::shell_word(word));
  return line;
}

std::string hint_not_found(const Invocation& invocation, const CallersEnvironment& callers) {
  const auto& words = invocation.positional;
  if (words.size() == 1 && words.front().find(' ') != std::string::npos)
    return fmt::format("this is one word; leave the quotes out: osproxy exec -- {}", words.front());
  const bool by_sudo = std::getenv("SUDO_UID") != nullptr;
  const bool by_doas = std::getenv("DOAS_USER") != nullptr;
  const bool is_searched = words.front().find('/') == std::string::npos;
  if (callers.path || !is_searched || (!by_sudo && !by_doas)) return {};
  const std::string_view program = by_sudo ? "sudo" : "doas";
  return fmt::format("{} has set another PATH than your shell's; try: {} env \"PATH=$PATH\"{}",
                     program, program,
                     with_sudo(invocation).substr(std::string_view("sudo").size()));
}

}  // namespace mitm::cli
