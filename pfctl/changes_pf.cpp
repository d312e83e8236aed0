#include "pfctl/changes.h"

namespace pfctl {

base::Result<Changes> Changes::open() {
  return Changes{{}};
}

bool Changes::take() {
  return true;
}

}  // namespace pfctl
