// Rules in pf: the steps of pf_plan with this machine's programs and journal.
#include "pfctl/loader_pf.h"

#include <cerrno>

#include "pfctl/native_dialect.h"
#include "pfctl/run_program.h"

namespace pfctl {
namespace {

Machine this_machine() {
  const Dialect dialect = native_dialect();
  return {dialect, anchor_of(dialect), [](const std::vector<std::string>& argv, std::string_view input) {
            return run_program(argv, input);
          }};
}

Loopback loopback_of(const Ruleset& ruleset) {
  Loopback wanted;
  if (ruleset.ipv4) wanted.v4 = ruleset.alias_v4;
  if (ruleset.ipv6) wanted.v6 = ruleset.alias_v6;
  return wanted;
}

}  // namespace

struct LoadedRules::Hold {
  PfSession session;
  std::string text;
};

LoadedRules::LoadedRules(std::unique_ptr<Hold> hold) : hold_(std::move(hold)) {}
LoadedRules::LoadedRules(LoadedRules&&) noexcept = default;
LoadedRules& LoadedRules::operator=(LoadedRules&&) noexcept = default;
LoadedRules::~LoadedRules() = default;

std::string LoadedRules::text() const {
  return hold_->text;
}

base::Result<> LoadedRules::stop_diverting() {
  return hold_->session.stop();
}

base::Result<PreparedPf> PreparedPf::prepare(const Loopback& preferred) {
  auto file = JournalFile::open(kJournalPath);
  if (!file) return file.error();
  PfSession session(this_machine(), std::move(*file));
  auto cleaned = session.clean_up();
  if (!cleaned) return cleaned.error();
  const auto loopback = session.prepare(preferred);
  if (!loopback) return loopback.error();
  return PreparedPf(std::move(session), *loopback, std::move(*cleaned));
}

base::Result<LoadedRules> load_rules(const Ruleset& ruleset, PreparedPf prepared, const Probe& probe,
                                     std::vector<std::string>& notes) {
  if (loopback_of(ruleset) != prepared.loopback()) {
    return base::failure("the rules for pf lead to other addresses of lo0 than the listeners are to have");
  }
  const auto text = render_pf(ruleset, native_dialect());
  if (!text) return text.error();
  const auto told = prepared.session_.load(*text, probe);
  if (!told) return told.error();
  notes.insert(notes.end(), told->begin(), told->end());
  return LoadedRules(
      std::make_unique<LoadedRules::Hold>(LoadedRules::Hold{std::move(prepared.session_), *text}));
}

base::Result<LoadedRules> load_rules(const Ruleset& ruleset) {
  const Loopback wanted = loopback_of(ruleset);
  auto prepared = PreparedPf::prepare(wanted);
  if (!prepared) return prepared.error();
  if (prepared->loopback() != wanted) {
    return base::failure(
        "interfaces or routes of others cover the addresses of lo0 that the listeners have; free "
        "ones: {} {}",
        prepared->loopback().v4.to_string(), prepared->loopback().v6.to_string());
  }
  std::vector<std::string> notes;
  return load_rules(ruleset, std::move(*prepared), {}, notes);
}

base::Result<long> rules_owner() {
  return journal_owner(kJournalPath);
}

base::Result<std::vector<std::string>> undo_stale_changes() {
  const auto owner = journal_owner(kJournalPath);
  if (!owner) return owner.error();
  if (*owner != kNoOwner) return std::vector<std::string>{};
  auto file = JournalFile::open(kJournalPath);
  if (!file && file.error().os_code == EWOULDBLOCK) return std::vector<std::string>{};
  if (!file) return file.error();
  return PfSession(this_machine(), std::move(*file)).clean_up();
}

base::Result<bool> remove_stale_rules() {
  const auto owner = rules_owner();
  if (!owner) return owner.error();
  const auto undone = undo_stale_changes();
  if (!undone) return undone.error();
  return *owner == kNoOwner;
}

}  // namespace pfctl
