// Rules in pf: the steps of pf_plan with this machine's programs and journal.
#include "pfctl/loader_pf.h"

#include <cerrno>

#include <fmt/ranges.h>

#include "pfctl/native_dialect.h"
#include "pfctl/pf_plan.h"
#include "pfctl/pf_query.h"
#include "pfctl/pf_undo.h"

namespace pfctl {
namespace {

std::vector<std::string> lines_of(Undone undone) {
  std::vector<std::string> lines = std::move(undone.lines);
  for (const auto& each : undone.failures)
    lines.push_back("could not be undone, and is left: " + each);
  return lines;
}

}  // namespace

std::optional<base::PortRange> native_source_ports(const Ruleset& ruleset) {
  return own_source_ports(ruleset, native_dialect());
}

void RedirectTarget::abandon() {
  hold_->session.abandon();
}

base::Result<RedirectTarget> RedirectTarget::prepare(bool ipv4, bool ipv6) {
  auto file = JournalFile::open(kJournalPath);
  if (!file) return file.error();
  auto hold = std::make_shared<Hold>(Hold{PfSession(this_machine(), std::move(*file))});
  auto cleaned = hold->session.clean_up();
  if (!cleaned) return cleaned.error();
  const Ruleset usual;
  Loopback preferred;
  if (ipv4) preferred.v4 = usual.alias_v4;
  if (ipv6) preferred.v6 = usual.alias_v6;
  std::vector<std::string> lines = lines_of(std::move(*cleaned));
  const auto loopback = hold->session.prepare(preferred);
  if (!loopback)
    return base::failure(
        "{}{}", loopback.error().text,
        lines.empty() ? "" : fmt::format("; of an earlier run: {}", fmt::join(lines, "; ")));
  return RedirectTarget{std::move(hold), loopback->v4, loopback->v6, std::move(lines)};
}

LoadedRules::LoadedRules(std::unique_ptr<Hold> hold) : hold_(std::move(hold)) {}
LoadedRules::LoadedRules(LoadedRules&&) noexcept = default;

LoadedRules& LoadedRules::operator=(LoadedRules&& other) noexcept {
  if (this == &other) return *this;
  if (hold_) (void)hold_->target->session.unload();
  hold_ = std::move(other.hold_);
  return *this;
}

LoadedRules::~LoadedRules() {
  if (hold_) (void)hold_->target->session.unload();
}

std::string LoadedRules::text() const {
  return hold_->loaded.text;
}

std::function<base::Result<Standing>()> LoadedRules::look_elsewhere() const {
  return []() -> base::Result<Standing> {
    return base::os_error("the rules in force are not looked at on this system", ENOTSUP);
  };
}

const std::vector<std::string>& LoadedRules::notes() const {
  return hold_->loaded.notes;
}

base::Result<> LoadedRules::stop_diverting() {
  return hold_->target->session.stop();
}

base::Result<> LoadedRules::divert_again() {
  return hold_->target->session.divert_again(hold_->loaded);
}

base::Result<LoadedRules> load_rules(const Ruleset& ruleset, const RedirectTarget& target,
                                     const Probe& probe) {
  auto addresses = query_addresses(this_machine());
  if (!addresses) return addresses.error();
  const auto tunnels = query_tunnels(this_machine());
  if (!tunnels) return tunnels.error();
  Ruleset complete = ruleset;
  complete.tunnels = *tunnels;
  const auto offer = offer_of(complete, native_dialect());
  if (!offer) return offer.error();
  auto loaded = target.hold()->session.load(*offer, probe);
  if (!loaded) return loaded.error();
  for (auto& note : cautions(complete, native_dialect())) loaded->notes.push_back(std::move(note));
  return LoadedRules{std::make_unique<LoadedRules::Hold>(LoadedRules::Hold{
      target.hold(), std::move(complete), std::move(*addresses), std::move(*loaded)})};
}

base::Result<base::UniqueFd> keep_translating() {
  return base::UniqueFd{};
}

base::Result<base::UniqueFd> copy_first_packets(std::uint16_t /*group*/) {
  return base::failure("pf gives no copies of packets");
}

base::Result<long> rules_owner() {
  return journal_owner(kJournalPath);
}

void take_rules_out(long owner) {
  // What fails is tried again by remove_stale_rules(), which tells it.
  (void)flush_rules_of(this_machine(), kJournalPath, owner);
}

base::Result<std::vector<std::string>> remove_stale_rules() {
  const auto owner = journal_owner(kJournalPath);
  if (!owner) return owner.error();
  if (*owner != kNoOwner) return std::vector<std::string>{};
  auto file = JournalFile::open(kJournalPath);
  if (!file && file.error().os_code == EWOULDBLOCK) return std::vector<std::string>{};
  if (!file) return file.error();
  PfSession session(this_machine(), std::move(*file));
  auto undone = session.clean_up();
  // What is left stays on disk.
  session.abandon();
  if (!undone) return undone.error();
  if (undone->failures.empty()) return std::move(undone->lines);
  return base::failure("not everything that osproxy changed in pf could be undone: {}",
                       fmt::join(lines_of(std::move(*undone)), "; "));
}

}  // namespace pfctl
