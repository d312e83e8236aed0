// Rules loaded by a test, with a landing that is prepared once for all of them.
#pragma once

#include "pfctl/loader.h"

namespace pfctl_test {

inline base::Result<pfctl::LoadedRules> load(const pfctl::Ruleset& ruleset) {
  static const auto target = pfctl::RedirectTarget::prepare(true, true);
  if (!target) return target.error();
  return pfctl::load_rules(ruleset, *target);
}

}  // namespace pfctl_test
