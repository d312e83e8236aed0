#include "mitm/cli/session_output.h"

#include <cerrno>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitm/cli/error_codes.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/session_directory.h"
#include "mitm/store/recorder.h"

namespace mitm::cli {
namespace {

base::Error of_option(const base::Error& error) {
  return {"--save: " + error.text, error.os_code};
}

/// Also a symbolic link that leads nowhere.
bool exists(const std::string& path) {
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0;
}

}  // namespace

base::Result<SessionFile> prepare_session(Settings& settings, const std::string& home,
                                          std::string_view program) {
  if (settings.save.empty()) return SessionFile::continued;
  if (settings.save == "-")
    return base::Error{"--save: a session is a file, not standard output; ./- is one called -",
                       kUsageError};
  auto made = settings.save == kAutomaticName ? SessionFile::named : SessionFile::created;
  if (made == SessionFile::named) {
    auto path = create_session_file(home, program, std::chrono::system_clock::now());
    if (!path) return of_option(path.error());
    settings.save = std::move(*path);
  }
  std::error_code error;
  const auto path = std::filesystem::absolute(settings.save, error);
  if (error) return of_option(base::os_error(settings.save, error.value()));
  settings.save = path.string();
  if (made == SessionFile::created && exists(settings.save)) made = SessionFile::continued;
  const auto session = store::SessionWriter::open(settings.save);
  if (session) return made;
  if (made != SessionFile::continued) ::unlink(settings.save.c_str());
  return of_option(session.error());
}

base::Result<std::unique_ptr<flow::Subscriber>> make_recorder(const Settings& settings) {
  if (settings.save.empty()) return nullptr;
  auto writer = store::SessionWriter::open(settings.save);
  if (!writer) return of_option(writer.error());
  const auto directory = std::filesystem::path(settings.save).parent_path();
  base::UniqueFd disk{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  return std::make_unique<store::Recorder>(
      std::move(*writer), "--save", std::move(disk), settings.keep, store::Recorder::Reserve{},
      [](const std::string& line) { log_line(line, base::LogLevel::warning); });
}

bool close_session(const std::string& path, const base::User& user, EmptySession empty) {
  constexpr int kRemoved = 3;
  const pid_t child = ::fork();
  if (child == 0) {
    if (!base::become(user)) ::_exit(0);
    // Opening it finds what a worker that was killed has left unfinished; closing it does the rest.
    bool unused = false;
    if (const auto session = store::SessionWriter::open(path)) {
      const auto flows = (*session)->database().number("SELECT count(*) FROM flow");
      unused = flows && flows->value_or(1) == 0;
    }
    const bool removed = unused && empty == EmptySession::removed && ::unlink(path.c_str()) == 0;
    ::_exit(removed ? kRemoved : 0);
  }
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return !(WIFEXITED(status) && WEXITSTATUS(status) == kRemoved);
}

}  // namespace mitm::cli
