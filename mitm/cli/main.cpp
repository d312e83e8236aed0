// The program's entry: splits the command line, picks the subcommand, turns errors into one line and an exit
// code.
#include <cerrno>
#include <cstdio>
#include <exception>
#include <map>

#include <signal.h>

#include "mitm/cli/commands.h"
#include "mitm/cli/options.h"

namespace {

using mitm::cli::Invocation;

constexpr int kFailed = 1;
constexpr int kUsage = 2;

int complain(const base::Error& error, int code) {
  fmt::print(stderr, "osproxy: {}\n", error.text);
  return code;
}

int dispatch(const Invocation& invocation) {
  using Command = base::Result<int> (*)(const Invocation&);
  static const std::map<std::string_view, Command> commands{
      {"run", mitm::cli::run_command},         {"exec", mitm::cli::run_command},
      {"rules", mitm::cli::rules_command},     {"who", mitm::cli::who_command},
      {"ca", mitm::cli::ca_command},           {"config", mitm::cli::config_command},
      {"cleanup", mitm::cli::cleanup_command},
  };
  const auto status = commands.at(invocation.command)(invocation);
  return status ? *status : complain(status.error(), status.error().os_code == EINVAL ? kUsage : kFailed);
}

int run(int argc, char** argv) {
  const auto invocation =
      mitm::cli::parse_command_line({argv + 1, static_cast<std::size_t>(argc > 0 ? argc - 1 : 0)});
  if (!invocation) return complain(invocation.error(), kUsage);
  if (invocation->version) {
    fmt::print("osproxy {}\n", OSPROXY_VERSION);
    return 0;
  }
  if (invocation->help) {
    fmt::print("{}", mitm::cli::help_text(invocation->help_topic));
    return 0;
  }
  return dispatch(*invocation);
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    return complain({error.what(), 0}, kFailed);
  }
}
