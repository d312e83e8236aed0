// Findings as text and as JSON lines.
#include "mitm/cli/findings.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace mitm::cli {
namespace {

const char* word_for(Finding::State state) {
  switch (state) {
    case Finding::State::ok:
      return "ok";
    case Finding::State::missing:
      return "missing";
    case Finding::State::blocked:
      break;
  }
  return "blocked";
}

}  // namespace

std::string render_findings_text(const Findings& findings) {
  std::string text;
  std::vector<std::string> in_the_way;
  for (const auto& finding : findings) {
    const bool is_good = finding.state == Finding::State::ok;
    // What a run can do without is no fault.
    const char* word = is_good || finding.needed ? word_for(finding.state) : "optional";
    text += fmt::format("{:8} {:20} {}", word, finding.check, base::printable(finding.detail));
    if (!finding.advice.empty()) text += fmt::format("; {}", base::printable(finding.advice));
    text += '\n';
    if (!is_good && finding.needed) in_the_way.push_back(finding.check);
  }
  if (in_the_way.empty()) return text + "\nosproxy can run here.\n";
  return text + fmt::format("\nosproxy cannot run here as it should: see {} above.\n",
                            fmt::join(in_the_way, ", "));
}

std::string render_findings_jsonl(const Findings& findings) {
  std::string text;
  for (const auto& finding : findings) {
    const nlohmann::json line{{"check", finding.check},
                              {"state", word_for(finding.state)},
                              {"detail", finding.detail},
                              {"advice", finding.advice},
                              {"needed", finding.needed}};
    text += line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
  }
  return text;
}

}  // namespace mitm::cli
