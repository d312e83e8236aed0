// Rules loaded by a test, with a landing that is prepared once for all of them.
#pragma once

#include "pfctl/loader.h"

namespace pfctl_test {

inline base::Result<pfctl::LoadedRules> load(const pfctl::Ruleset& ruleset) {
  static const auto landing = pfctl::Landing::prepare(true, true);
  if (!landing) return landing.error();
  return pfctl::load_rules(ruleset, *landing);
}

}  // namespace pfctl_test
