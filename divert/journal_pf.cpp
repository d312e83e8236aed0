// pf's rules have no owner: they stay when the process that loaded them has gone. The loader keeps a journal
// of its own.
#include "divert/journal.h"
#include "pfctl/loader.h"

namespace divert {

const char* const kJournalDirectory = "/var/run/osproxy";

std::vector<std::string> undo_rules() {
  const auto removed = pfctl::remove_stale_rules();
  if (!removed) return {removed.error().text};
  return *removed ? std::vector<std::string>{"put the packet filter back"} : std::vector<std::string>{};
}

}  // namespace divert
