// pf's rules have no owner: they stay when the process that loaded them has gone. The loader keeps
// a journal of its own.
#include "divert/broker/journal.h"
#include "pfctl/loader.h"

namespace divert {

const char* const kJournalDirectory = "/var/run/osproxy";

std::vector<std::string> undo_rules() {
  auto undone = pfctl::remove_stale_rules();
  return undone ? std::move(*undone) : std::vector<std::string>{undone.error().text};
}

}  // namespace divert
