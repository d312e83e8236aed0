#include "mitm/cli/session_output.h"

#include <cerrno>
#include <filesystem>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitm/cli/log_line.h"
#include "mitm/store/recorder.h"

namespace mitm::cli {
namespace {

base::Error of_option(const base::Error& error) {
  return {"--save: " + error.text, error.os_code};
}

}  // namespace

base::Result<> prepare_session(Settings& settings) {
  if (settings.save.empty()) return {};
  std::error_code error;
  const auto path = std::filesystem::absolute(settings.save, error);
  if (error) return of_option(base::os_error(settings.save, error.value()));
  settings.save = path.string();
  const auto session = store::SessionWriter::open(settings.save);
  if (!session) return of_option(session.error());
  return {};
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

void close_session(const std::string& path, const base::User& user) {
  const pid_t child = ::fork();
  if (child == 0) {
    // Opening it finds what a worker that was killed has left unfinished; closing it does the rest.
    if (base::become(user)) static_cast<void>(store::SessionWriter::open(path).has_value());
    ::_exit(0);
  }
  while (child > 0 && ::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace mitm::cli
