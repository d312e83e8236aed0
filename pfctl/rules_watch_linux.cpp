// A table that a process owns stays as it is, whatever others flush or load.
#include "pfctl/rules_watch.h"

namespace pfctl {

struct RulesWatch::Hold {};

RulesWatch::RulesWatch(std::unique_ptr<Hold> hold) : hold_(std::move(hold)) {}
RulesWatch::RulesWatch(RulesWatch&&) noexcept = default;
RulesWatch& RulesWatch::operator=(RulesWatch&&) noexcept = default;
RulesWatch::~RulesWatch() = default;

base::Result<RulesWatch> RulesWatch::start(LoadedRules&) {
  return RulesWatch(nullptr);
}

int RulesWatch::descriptor() const {
  return -1;
}

std::vector<std::string> RulesWatch::look() {
  return {};
}

}  // namespace pfctl
