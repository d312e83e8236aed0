// `osproxy query`: flows of a session or a file that a filter selects, in any format.
#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/text.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/flow_output.h"
#include "mitm/cli/flow_source.h"
#include "mitm/cli/log_line.h"
#include "mitm/query/filter.h"

namespace mitm::cli {
namespace {

using base::Result;

/// "FILTER: found ..., expected ..." with the place marked below it.
base::Error filter_error(std::string_view text, const query::Problem& problem) {
  const std::string line = base::printable(text);
  const bool shown = line.size() == text.size() && text.size() <= 80;
  const std::string place =
      shown ? fmt::format("\n  {}\n  {:{}}{}", line, "", problem.at,
                          std::string(std::max<std::size_t>(problem.length, 1), '^'))
            : "";
  return {fmt::format("FILTER: {}{}", problem.message(), place), kSeveralErrors};
}

Result<query::Filter> filter_of(const Invocation& invocation) {
  const std::string text = invocation.positional.size() > 1 ? invocation.positional[1] : "";
  const auto filter = query::Filter::parse(text);
  if (!filter) return filter_error(text, filter.error());
  for (const auto& warning : filter->warnings())
    log_line("FILTER: " + warning.text, base::LogLevel::warning);
  return *filter;
}

/// FILTER and FILE in the wrong order are said to be that.
base::Error source_error(const std::vector<std::string>& words, const base::Error& error) {
  if (error.os_code != ENOENT || words.size() < 2 || ::access(words[1].c_str(), F_OK) != 0)
    return error;
  return base::failure("{}; FILE comes first: osproxy query {} FILTER", error.text,
                       base::printable(words[1]));
}

/// A reader of our output that has gone (`| head`) has seen enough.
Result<int> unless_reader_left(const Result<>& written) {
  if (written.error().os_code == EPIPE) return 0;
  return written.error();
}

}  // namespace

Result<int> query_command(const Invocation& invocation) {
  const Settings& settings = invocation.typed;
  if (settings.list_fields) {
    fmt::print("{}", query::help());
    return 0;
  }
  auto filter = filter_of(invocation);
  if (!filter) return filter.error();
  auto source = open_flow_source(invocation.positional.front(), *filter, settings.sort);
  if (!source) return source_error(invocation.positional, source.error());
  auto output = settings.count ? make_flow_counter() : make_flow_output(settings);
  if (!output) return output.error();
  // What is damaged is named; all that is whole is written.
  bool damaged = false;
  for (;;) {
    auto flow = (*source)->next();
    if (!flow) {
      damaged = true;
      log_line(flow.error().text, base::LogLevel::warning);
      if (!(*source)->goes_on()) break;
      continue;
    }
    if (!*flow) break;
    if (auto written = (*output)->write(**flow); !written) return unless_reader_left(written);
  }
  if (auto ended = (*output)->end(); !ended) return unless_reader_left(ended);
  return damaged ? 1 : 0;
}

}  // namespace mitm::cli
