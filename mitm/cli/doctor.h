// What works on this machine, what does not, and what to do about it.
#pragma once

#include <string>
#include <vector>

#include "mitm/cli/settings.h"

namespace mitm::cli {

struct Finding {
  enum class State { ok, missing, blocked } state = State::ok;
  std::string check;   ///< one word or two: "nf_tables", "conntrack"
  std::string detail;  ///< what was found
  std::string advice;  ///< what to do; empty when there is nothing to be done
  bool needed = true;  ///< without it a run does not work as it should
};

/// Looks at everything that a run with these settings would rely on. As root it also loads rules
/// for children of its own, sees whether they are diverted, and takes them out again; may fork.
std::vector<Finding> examine(const RunSettings& settings);

std::string render_doctor_text(const std::vector<Finding>& findings);
std::string render_doctor_jsonl(const std::vector<Finding>& findings);

}  // namespace mitm::cli
