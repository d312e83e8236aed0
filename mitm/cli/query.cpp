// `osproxy query` and `osproxy open`: flows of sessions and other files, on standard output.
#include <cstdio>

#include <fmt/format.h>

#include "mitm/cli/commands.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/filter_text.h"
#include "mitm/cli/flow_transfer.h"
#include "mitm/cli/following_source.h"

namespace mitm::cli {

using base::Result;

namespace {

/// What --follow has no sense with.
Result<> check_follow(const Invocation& invocation) {
  const Settings& settings = invocation.typed;
  for (const std::string_view option : {"sort", "count"}) {
    if (invocation.has(option))
      return base::Error{fmt::format("--follow does not go with --{}", option), kUsageError};
  }
  const bool by_line = settings.file_format == FileFormat::text ||
                       settings.file_format == FileFormat::jsonl ||
                       settings.file_format == FileFormat::csv;
  if (by_line) return {};
  return base::Error{"--follow goes with --format text, jsonl or csv", kUsageError};
}

Result<std::vector<std::unique_ptr<FlowSource>>> followed(const Invocation& invocation,
                                                          const query::Filter& filter) {
  if (auto good = check_follow(invocation); !good) return good.error();
  auto source =
      open_following_source(invocation.positional.front(), filter, [] { std::fflush(stdout); });
  if (!source) return source.error();
  std::vector<std::unique_ptr<FlowSource>> sources;
  sources.push_back(std::move(*source));
  return sources;
}

}  // namespace

Result<int> query_command(const Invocation& invocation) {
  if (auto became = become_caller(invocation); !became) return became.error();
  const Settings& settings = invocation.typed;
  if (settings.list_fields) {
    fmt::print("{}", query::help());
    return 0;
  }
  say_unused_options(invocation, settings.file_format);
  const auto filter = filter_of_words(invocation);
  if (!filter) return filter.error();
  Progress progress;
  const auto source = settings.follow ? followed(invocation, *filter)
                                      : source_of_words(invocation, *filter, progress);
  if (!source) return source.error();
  const auto output = settings.count ? Result<std::unique_ptr<FlowOutput>>{make_flow_counter()}
                                     : output_for(settings, stdout, progress);
  if (!output) return output.error();
  return transfer(*source, **output, progress);
}

Result<int> open_command(const Invocation& invocation) {
  if (auto became = become_caller(invocation); !became) return became.error();
  const auto filter = parse_filter_text(invocation.typed.view, "--view");
  if (!filter) return filter.error();
  Progress progress;
  const auto sources = sources_of_files(invocation, *filter, progress);
  if (!sources) return sources.error();
  const auto output = output_for(invocation.typed, stdout, progress);
  if (!output) return output.error();
  return transfer(*sources, **output, progress);
}

}  // namespace mitm::cli
