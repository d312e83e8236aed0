#include <chrono>

#include "pfctl/loader_pf.h"
#include "pfctl/pf_query.h"
#include "pfctl/pf_watch.h"
#include "pfctl/rules_watch.h"

namespace pfctl {
namespace {

constexpr std::chrono::seconds kWatchEvery{3};

}  // namespace

struct RulesWatch::Hold {
  LoadedRules::Hold& rules;
  std::unique_ptr<PfWatch> watch;
};

RulesWatch::RulesWatch(std::unique_ptr<Hold> hold) : hold_(std::move(hold)) {}
RulesWatch::RulesWatch(RulesWatch&&) noexcept = default;
RulesWatch& RulesWatch::operator=(RulesWatch&&) noexcept = default;
RulesWatch::~RulesWatch() = default;

base::Result<RulesWatch> RulesWatch::start(LoadedRules& rules) {
  const auto machine = this_machine();
  auto view = query_view(machine);
  if (!view) return view.error();
  const auto& hold = rules.hold();
  const bool settled = hold.target->session.is_settled(*view, hold.loaded);
  view->addresses = hold.addresses;
  auto watch = PfWatch::start(machine, *view, kWatchEvery);
  if (!watch) return watch.error();
  if (!settled) (*watch)->try_again(std::move(*view));
  return RulesWatch(std::make_unique<Hold>(Hold{rules.hold(), std::move(*watch)}));
}

int RulesWatch::descriptor() const {
  return hold_->watch->descriptor();
}

std::vector<std::string> RulesWatch::look() {
  auto& rules = hold_->rules;
  return put_right(rules.target->session, rules.ruleset, rules.loaded, this_machine(),
                   *hold_->watch);
}

}  // namespace pfctl
