#include "mitm/cli/filter_text.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/log_line.h"

namespace mitm::cli {

base::Error marked_problem(std::string_view text, const query::Problem& problem) {
  const std::string line = base::printable(text);
  const bool shown = line.size() == text.size() && text.size() <= 80;
  const std::string place =
      shown ? fmt::format("\n  {}\n  {:{}}{}", line, "", problem.at,
                          std::string(std::max<std::size_t>(problem.length, 1), '^'))
            : "";
  return {problem.message() + place, kUsageErrorOfLines};
}

base::Result<query::Filter> parse_filter_text(std::string_view text, std::string_view name) {
  auto filter = query::Filter::parse(text);
  if (!filter) {
    const auto problem = marked_problem(text, filter.error());
    return base::Error{fmt::format("{}: {}", name, problem.text), problem.os_code};
  }
  for (const auto& warning : filter->warnings())
    log_line(fmt::format("{}: {}", name, warning.text), base::LogLevel::warning);
  return std::move(*filter);
}

}  // namespace mitm::cli
