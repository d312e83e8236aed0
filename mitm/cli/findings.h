// What doctor has found out about this machine, as text and as JSON lines.
#pragma once

#include <string>
#include <vector>

namespace mitm::cli {

struct Finding {
  enum class State { ok, missing, blocked } state = State::ok;
  std::string check;   ///< one word or two: "nf_tables", "conntrack"
  std::string detail;  ///< what was found
  std::string advice;  ///< what to do; empty when there is nothing to be done
  bool needed = true;  ///< without it a run does not work as it should
};
using Findings = std::vector<Finding>;

std::string render_findings_text(const Findings& findings);
std::string render_findings_jsonl(const Findings& findings);

}  // namespace mitm::cli
