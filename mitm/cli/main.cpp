// The program's entry: splits the command line, picks the subcommand, turns errors into one line
// and an exit code.
#include <cerrno>
#include <cstdio>
#include <exception>
#include <map>
#include <system_error>

#include <signal.h>

#include "mitm/cli/command_line.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/help.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/offer.h"
#include "mitm/cli/options.h"
#include "mitm/tls/openssl.h"

namespace {

using mitm::cli::Invocation;

constexpr int kFailed = 1;
constexpr int kUsage = 2;

int complain(const base::Error& error, int code) {
  if (!mitm::cli::has_several_lines(error.os_code)) {
    mitm::cli::log_line(error.text);
  } else {
    mitm::cli::for_each_part(error.text, '\n', [](auto line) { mitm::cli::log_line(line); });
  }
  mitm::cli::flush_log();  // an exception may have ended a run, in which log_line() does not wait
  return code;
}

int dispatch(const Invocation& invocation) {
  using Command = base::Result<int> (*)(const Invocation&);
  static const std::map<std::string_view, Command> commands{
      {"run", mitm::cli::run_command},           {"exec", mitm::cli::run_command},
      {"open", mitm::cli::open_command},         {"query", mitm::cli::query_command},
      {"export", mitm::cli::export_command},     {"import", mitm::cli::import_command},
      {"sessions", mitm::cli::sessions_command}, {"rules", mitm::cli::rules_command},
      {"who", mitm::cli::who_command},           {"ca", mitm::cli::ca_command},
      {"config", mitm::cli::config_command},     {"learned", mitm::cli::learned_command},
      {"doctor", mitm::cli::doctor_command},     {"cleanup", mitm::cli::cleanup_command},
  };
  const auto status = commands.at(invocation.command)(invocation);
  if (status) return *status;
  const bool usage = mitm::cli::is_usage_error(status.error().os_code);
  return complain(status.error(), usage ? kUsage : kFailed);
}

int run(int argc, char** argv) {
  if (argc == 4 && argv[1] == mitm::cli::kCompleteCommand) {
    fmt::print("{}", mitm::cli::offers(argv[2], argv[3]));
    return 0;
  }
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

/// `code`, unless what was printed could not be written. A reader that has gone (`osproxy who |
/// head`) has seen enough.
int finish(int code, int write_error) {
  if (write_error == 0 && std::fflush(stdout) != 0) write_error = errno;
  if (write_error == 0 || write_error == EPIPE) return code;
  return complain(base::os_error("cannot write to standard output", write_error), kFailed);
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  mitm::tls::ignore_configuration();
  try {
    return finish(run(argc, argv), 0);
  } catch (const std::system_error& error) {
    // fmt::print throws when standard output takes nothing.
    const bool is_output = std::ferror(stdout) != 0;
    return is_output ? finish(0, error.code().value()) : complain({error.what(), 0}, kFailed);
  } catch (const std::exception& error) {
    return complain({error.what(), 0}, kFailed);
  }
}
