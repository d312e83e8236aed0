// What pf's loader holds, for those parts of it that are in files of their own.
#pragma once

#include <memory>
#include <vector>

#include "base/network.h"
#include "pfctl/loader.h"
#include "pfctl/pf_session.h"

namespace pfctl {

struct RedirectTarget::Hold {
  PfSession session;
};

struct LoadedRules::Hold {
  std::shared_ptr<RedirectTarget::Hold> target;
  Ruleset ruleset;
  std::vector<base::Address> addresses;  ///< this machine's before the rules were made
  Loaded loaded;
};

}  // namespace pfctl
