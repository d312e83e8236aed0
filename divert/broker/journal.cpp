// Journals are small JSON files, so that a person can read what is left behind.
#include "divert/broker/journal.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/process/command.h"

namespace divert {
namespace {

std::string path_of(const Journal& journal) {
  return fmt::format("{}/{}.json", kJournalDirectory, journal.broker.pid);
}

base::Result<Journal> read_journal(const std::string& path) {
  const auto text = base::read_file(path, 64 << 10);
  if (!text) return text.error();
  const auto data = nlohmann::json::parse(*text, nullptr, false);
  if (!data.is_object()) return base::failure("{} is not a journal of osproxy", path);
  Journal journal;
  journal.broker.pid = data.value("broker", 0);
  journal.broker.start_ticks = data.value("broker_start", std::uint64_t{0});
  journal.worker = data.value("worker", 0);
  journal.cgroup = data.value("cgroup", "");
  journal.guard.pid = data.value("guard", 0);
  journal.guard.start_ticks = data.value("guard_start", std::uint64_t{0});
  return journal;
}

/// Of base::replace_file's drafts, FILE.PID.tmp; 0: it is another file.
pid_t writer_of(std::string_view name) {
  constexpr std::string_view kEnd = ".tmp";
  if (!name.ends_with(kEnd)) return 0;
  name.remove_suffix(kEnd.size());
  name.remove_prefix(name.rfind('.') + 1);
  pid_t writer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), writer);
  return error == std::errc{} && end == name.data() + name.size() ? writer : 0;
}

bool lives(const procmap::ProcessId& process) {
  return process.pid > 0 && process_id_of(process.pid) == process;
}

void undo_all_but_rules(const Journal& journal, std::vector<std::string>& done) {
  if (!journal.cgroup.empty() && remove_cgroup(journal.cgroup))
    done.push_back(fmt::format("removed the cgroup {}", journal.cgroup));
  if (::unlink(path_of(journal).c_str()) == 0)
    done.push_back(fmt::format("removed the journal of process {}", journal.broker.pid));
}

}  // namespace

base::Result<> write_journal(const Journal& journal) {
  if (::mkdir(kJournalDirectory, 0700) != 0 && errno != EEXIST) {
    return base::os_error(fmt::format("cannot make {}", kJournalDirectory), errno);
  }
  const nlohmann::json data{
      {"broker", journal.broker.pid}, {"broker_start", journal.broker.start_ticks},
      {"worker", journal.worker},     {"cgroup", journal.cgroup},
      {"guard", journal.guard.pid},   {"guard_start", journal.guard.start_ticks}};
  return base::replace_file(path_of(journal), data.dump(2) + "\n", 0600);
}

std::vector<std::string> undo(const Journal& journal) {
  std::vector<std::string> done = undo_rules();
  undo_all_but_rules(journal, done);
  return done;
}

std::vector<Journal> stale_journals() {
  std::vector<Journal> stale;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{kJournalDirectory, ignored}) {
    if (entry.path().extension() != ".json") continue;
    const auto journal = read_journal(entry.path());
    if (journal && !lives(journal->broker) && !lives(journal->guard)) stale.push_back(*journal);
  }
  return stale;
}

std::vector<std::string> remove_leftovers() {
  std::vector<std::string> done;
  for (const Journal& journal : stale_journals()) undo_all_but_rules(journal, done);
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{kJournalDirectory, ignored}) {
    const pid_t writer = writer_of(entry.path().filename().string());
    if (writer <= 0 || process_id_of(writer).start_ticks != 0) continue;
    if (::unlink(entry.path().c_str()) == 0)
      done.push_back(fmt::format("removed the unfinished journal {}", entry.path().string()));
  }
  return done;
}

}  // namespace divert
