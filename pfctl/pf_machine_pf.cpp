#include "pfctl/native_dialect.h"
#include "pfctl/pf_machine.h"

namespace pfctl {

Machine this_machine() {
  const Dialect dialect = native_dialect();
  return {dialect, anchor_of(dialect),
          [](const std::vector<std::string>& argv, std::string_view input) {
            return base::run({.arguments = argv, .input = std::string(input)});
          }};
}

}  // namespace pfctl
