// `osproxy sessions`: lists, removes and compacts sessions, those of the user's directory or others
// that are named.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "divert/process/privilege.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/progress.h"
#include "mitm/cli/session_directory.h"
#include "mitm/store/compaction.h"
#include "mitm/store/database.h"
#include "mitm/store/schema.h"
#include "mitm/store/session_file.h"
#include "mitm/store/session_lock.h"

namespace mitm::cli {
namespace {

using base::Result;

/// A row of the list.
struct Session {
  std::string path;
  std::time_t time = 0;  ///< of the first flow; of a session without flows, when it was written
  std::uint64_t bytes = 0;
  std::uint64_t flows = 0;
  std::vector<std::string> programs;
  std::string state;
  std::int64_t version = 0;
};

std::uint64_t size_of(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 ? static_cast<std::uint64_t>(facts.st_size) : 0;
}

std::time_t time_of(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 ? facts.st_mtime : 0;
}

Result<> read_rows(store::Database& database, Session& session) {
  const auto flows = database.number("SELECT count(*) FROM flow");
  if (!flows) return flows.error();
  session.flows = static_cast<std::uint64_t>(flows->value_or(0));
  const auto began = database.number("SELECT min(began) FROM flow WHERE began > 0");
  if (!began) return began.error();
  if (*began) session.time = static_cast<std::time_t>(**began / 1'000'000);
  const auto live = database.number("SELECT count(*) FROM flow WHERE state = 0");
  if (!live) return live.error();
  if (session.state.empty()) session.state = live->value_or(0) > 0 ? "interrupted" : "closed";
  const auto version = database.number("PRAGMA user_version");
  if (!version) return version.error();
  session.version = version->value_or(0);
  auto names = database.prepare("SELECT name FROM process GROUP BY name ORDER BY min(id)");
  if (!names) return names.error();
  for (;;) {
    const auto row = names->step();
    if (!row) return row.error();
    if (!*row) return {};
    if (!names->text(0).empty()) session.programs.emplace_back(names->text(0));
  }
}

/// A session that cannot be read is listed with the reason as its state.
Session look_at(const std::string& path) {
  Session session;
  session.path = path;
  session.bytes = size_of(path) + size_of(path + "-wal");
  session.time = time_of(path);
  // Before SQLite opens it: what is closed here releases its locks.
  if (store::writer_of(path)) session.state = "being written";
  // Not as a reader of its flows, which would make those interrupted that a killed run has left.
  auto database = store::Database::open(path, store::Database::Access::read);
  auto read = database ? store::check_readable(*database) : database.error();
  if (read) read = read_rows(*database, session);
  if (read) return session;
  std::string why = read.error().text;
  const std::string name = base::printable(path) + ": ";
  if (why.starts_with(name)) why.erase(0, name.size());
  session.state = fmt::format("unreadable: {}", why);
  return session;
}

std::string in_units(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "kMGT";
  if (bytes < 1024) return fmt::format("{}", bytes);
  auto amount = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (amount /= 1024; amount >= 999.5 && unit + 1 < kUnits.size(); ++unit) amount /= 1024;
  return fmt::format(fmt::runtime(amount < 9.95 ? "{:.1f}{}" : "{:.0f}{}"), amount, kUnits[unit]);
}

std::string local_time(std::time_t time) {
  std::tm local{};
  ::localtime_r(&time, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local);
  return text;
}

std::string programs_text(const std::vector<std::string>& programs) {
  constexpr std::size_t kShown = 3;
  std::string text;
  for (std::size_t i = 0; i < std::min(programs.size(), kShown); ++i)
    text.append(text.empty() ? "" : " ").append(programs[i]);
  if (programs.size() > kShown) text += fmt::format(" +{}", programs.size() - kShown);
  return text.empty() ? "-" : text;
}

/// In the directory of sessions the name is enough for every command.
std::string shown_name(const Session& session, const std::string& directory) {
  const std::filesystem::path path{session.path};
  return path.parent_path() == directory ? path.stem().string() : session.path;
}

void print_table(const std::vector<Session>& sessions, const std::string& directory) {
  std::vector<std::string> names;
  std::size_t width = std::string_view("SESSION").size();
  for (const Session& session : sessions) {
    names.push_back(base::printable(shown_name(session, directory)));
    width = std::max(width, names.back().size());
  }
  fmt::print("{:{}}  {:16}  {:>5}  {:>9}  {:13}  {:>6}  PROGRAMS\n", "SESSION", width, "BEGAN",
             "SIZE", "FLOWS", "STATE", "FORMAT");
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    const Session& one = sessions[i];
    fmt::print("{:{}}  {:16}  {:>5}  {:>9}  {:13}  {:>6}  {}\n", names[i], width,
               local_time(one.time), in_units(one.bytes), one.flows, base::printable(one.state),
               one.version, base::printable(programs_text(one.programs)));
  }
}

void print_lines(const std::vector<Session>& sessions) {
  for (const Session& one : sessions) {
    const nlohmann::ordered_json line{
        {"path", one.path},
        {"began", base::rfc3339(std::chrono::system_clock::from_time_t(one.time))},
        {"bytes", one.bytes},
        {"flows", one.flows},
        {"state", one.state},
        {"format", one.version},
        {"programs", one.programs}};
    fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  }
}

/// All of them; what fails is said, and the others go on.
template <class Do>
int each(const std::vector<std::string>& paths, Do act) {
  int status = 0;
  for (const std::string& path : paths) {
    if (const auto done = act(path); !done) {
      log_line(done.error().text);
      status = 1;
    }
  }
  return status;
}

Result<int> list(const std::vector<std::string>& paths, const std::string& directory,
                 bool as_lines) {
  std::vector<Session> sessions;
  const int status = each(paths, [&](const std::string& path) -> Result<> {
    if (::access(path.c_str(), F_OK) != 0)
      return base::os_error("cannot find " + base::printable(path), errno);
    sessions.push_back(look_at(path));
    return {};
  });
  std::ranges::stable_sort(sessions, {}, &Session::time);
  if (status != 0 && sessions.empty()) return status;
  if (as_lines)
    print_lines(sessions);
  else if (sessions.empty())
    fmt::print("no sessions in {}; run and exec make one with --save {}\n",
               base::printable(directory), kAutomaticName);
  else
    print_table(sessions, directory);
  return status;
}

/// Gone under all its names: SQLite would read a log that is left into the next file of that name.
Result<> remove(const std::string& path) {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0)
    return base::os_error("cannot remove " + base::printable(path), errno);
  if (!S_ISREG(facts.st_mode) || (facts.st_size > 0 && !store::is_session_file(path)))
    return base::failure("{} is no session of osproxy; rm removes other files",
                         base::printable(path));
  const auto lock = store::SessionLock::try_take(path);
  if (const auto writer = lock ? std::nullopt : store::writer_of(path))
    return store::written_by_another(path, *writer, "end that first");
  if (::unlink(path.c_str()) != 0)
    return base::os_error("cannot remove " + base::printable(path), errno);
  for (const char* const log : {"-wal", "-shm", "-journal"}) ::unlink((path + log).c_str());
  fmt::print("removed {}\n", base::printable(path));
  return {};
}

Result<> compact(const std::string& path) {
  Progress progress;
  const auto sizes = store::compact(
      path, [&](std::uint64_t done, std::uint64_t total) { progress.looked_at(done, total); });
  progress.erase();
  if (!sizes) return sizes.error();
  fmt::print("{}: {} -> {}\n", base::printable(path), in_units(sizes->before),
             in_units(sizes->after));
  return {};
}

}  // namespace

Result<int> sessions_command(const Invocation& invocation) {
  if (auto became = become_caller(invocation); !became) return became.error();
  const std::string directory = sessions_directory(base::current_user().home);
  const auto& words = invocation.positional;
  std::vector<std::string> paths;
  for (std::size_t i = 1; i < words.size(); ++i) paths.push_back(find_session(words[i]));
  const std::string& verb = words.front();
  if (verb == "rm") return each(paths, remove);
  if (verb == "compact") return each(paths, compact);
  if (paths.empty()) paths = session_files(directory);
  return list(paths, directory, invocation.typed.format == Format::jsonl);
}

}  // namespace mitm::cli
