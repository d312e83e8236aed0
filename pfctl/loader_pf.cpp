// Rules in pf: the steps of pf_plan with this machine's programs and journal.
#include <cerrno>

#include "pfctl/loader.h"
#include "pfctl/native_dialect.h"
#include "pfctl/pf_plan.h"
#include "pfctl/run_program.h"

namespace pfctl {
namespace {

using boost::asio::ip::address_v4;
using boost::asio::ip::address_v6;

/// macOS may have rules in an anchor and evaluate another program's main ruleset.
bool needs_proof() {
  return native_dialect() == Dialect::darwin;
}

}  // namespace

Machine this_machine() {
  const Dialect dialect = native_dialect();
  return {dialect, anchor_of(dialect), [](const std::vector<std::string>& argv, std::string_view input) {
            return run_program(argv, input);
          }};
}

struct Landing::Hold {
  PfSession session;
};

Landing::Landing(std::shared_ptr<Hold> hold, base::Address v4, base::Address v6,
                 std::vector<std::string> cleaned)
    : hold_(std::move(hold)), v4_(std::move(v4)), v6_(std::move(v6)), cleaned_(std::move(cleaned)) {}
Landing::Landing(Landing&&) noexcept = default;
Landing& Landing::operator=(Landing&&) noexcept = default;
Landing::~Landing() = default;

void Landing::abandon() {
  hold_->session.abandon();
}

base::Result<Landing> Landing::prepare(bool ipv4, bool ipv6) {
  auto file = JournalFile::open(kJournalPath);
  if (!file) return file.error();
  auto hold = std::make_shared<Hold>(Hold{PfSession(this_machine(), std::move(*file))});
  auto cleaned = hold->session.clean_up();
  if (!cleaned) return cleaned.error();
  const Ruleset usual;
  Loopback preferred;
  if (ipv4) preferred.v4 = usual.alias_v4;
  if (ipv6) preferred.v6 = usual.alias_v6;
  const auto loopback = hold->session.prepare(preferred);
  if (!loopback) return loopback.error();
  return Landing{std::move(hold), loopback->v4, loopback->v6, std::move(*cleaned)};
}

struct LoadedRules::Hold {
  std::shared_ptr<Landing::Hold> landing;
  std::string text;
  std::vector<std::string> notes;
};

namespace {

/// Where IPv6 does not arrive it is refused: better none than one that times out.
base::Result<> settle_ipv6(Ruleset ruleset, const Probe& probe, LoadedRules::Hold& held) {
  const auto tried = probe(true);
  if (!tried) return tried.error();
  if (*tried != Tried::astray) return {};
  ruleset.ipv6_refused = true;
  auto text = render_pf(ruleset, native_dialect());
  if (!text) return text.error();
  held.text = std::move(*text);
  held.notes.emplace_back(
      "this machine's pf does not divert IPv6: it is refused, so that programs turn to IPv4");
  return held.landing->session.replace(held.text);
}

}  // namespace

LoadedRules::LoadedRules(std::unique_ptr<Hold> hold) : hold_(std::move(hold)) {}
LoadedRules::LoadedRules(LoadedRules&&) noexcept = default;

LoadedRules& LoadedRules::operator=(LoadedRules&& other) noexcept {
  if (this == &other) return *this;
  if (hold_) (void)hold_->landing->session.unload();
  hold_ = std::move(other.hold_);
  return *this;
}

LoadedRules::~LoadedRules() {
  if (hold_) (void)hold_->landing->session.unload();
}

std::string LoadedRules::text() const {
  return hold_->text;
}

const std::vector<std::string>& LoadedRules::notes() const {
  return hold_->notes;
}

base::Result<> LoadedRules::stop_diverting() {
  return hold_->landing->session.stop();
}

base::Result<> LoadedRules::divert_again() {
  return hold_->landing->session.replace(hold_->text);
}

base::Result<LoadedRules> load_rules(const Ruleset& ruleset, const Landing& landing, const Probe& probe) {
  auto text = render_pf(ruleset, native_dialect());
  if (!text) return text.error();
  PfSession& session = landing.hold()->session;
  const bool prove = probe && needs_proof();
  const Try try_first = prove ? Try{[&] { return probe(!ruleset.ipv4); }} : Try{};
  auto notes = session.load(*text, try_first);
  if (!notes) return notes.error();
  auto hold = std::make_unique<LoadedRules::Hold>(
      LoadedRules::Hold{landing.hold(), std::move(*text), std::move(*notes)});
  LoadedRules::Hold& held = *hold;
  LoadedRules loaded{std::move(hold)};
  if (prove && ruleset.ipv4 && ruleset.ipv6 && !ruleset.ipv6_refused) {
    if (auto settled = settle_ipv6(ruleset, probe, held); !settled) return settled.error();
  }
  return loaded;
}

base::Result<long> rules_owner() {
  return journal_owner(kJournalPath);
}

base::Result<std::vector<std::string>> remove_stale_rules() {
  const auto owner = journal_owner(kJournalPath);
  if (!owner) return owner.error();
  if (*owner != kNoOwner) return std::vector<std::string>{};
  auto file = JournalFile::open(kJournalPath);
  if (!file && file.error().os_code == EWOULDBLOCK) return std::vector<std::string>{};
  if (!file) return file.error();
  return PfSession(this_machine(), std::move(*file)).clean_up();
}

}  // namespace pfctl
