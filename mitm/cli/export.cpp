// `osproxy export`: flows of a session or another file into a file of any format.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/ascii.h"
#include "base/text.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/flow_transfer.h"
#include "mitm/cli/new_file.h"
#include "mitm/cli/output_file.h"
#include "mitm/cli/session_directory.h"

namespace mitm::cli {
namespace {

using base::Result;

constexpr std::string_view kSaidBy = "--output";

struct Ending {
  std::string_view text;
  FileFormat format;
};
constexpr Ending kEndings[] = {
    {".har", FileFormat::har},       {".mitm", FileFormat::mitm},   {".flows", FileFormat::mitm},
    {".pcapng", FileFormat::pcapng}, {".jsonl", FileFormat::jsonl}, {".ndjson", FileFormat::jsonl},
    {".txt", FileFormat::text},      {".http", FileFormat::raw},    {".sh", FileFormat::curl},
    {".js", FileFormat::fetch},      {".py", FileFormat::python},   {".csv", FileFormat::csv},
};

Result<FileFormat> format_of(const Invocation& invocation) {
  const Settings& settings = invocation.typed;
  if (invocation.has("format")) return settings.file_format;
  const std::string name = base::lowercase(settings.output);
  if (name.ends_with(".osp"))
    return base::Error{
        fmt::format("--output: .osp is a session; make one with: osproxy import {} --save {}",
                    base::printable(invocation.positional.front()),
                    base::printable(settings.output)),
        kUsageError};
  const auto* const found = std::ranges::find_if(
      kEndings, [&](const Ending& ending) { return name.ends_with(ending.text); });
  if (found != std::end(kEndings)) return found->format;
  std::vector<std::string_view> known;
  for (const Ending& ending : kEndings) known.push_back(ending.text);
  return base::Error{fmt::format("--output: the ending of '{}' names no format ({}); name one with "
                                 "--format",
                                 base::printable(settings.output), fmt::join(known, " ")),
                     kUsageError};
}

bool is_same_file(const std::string& one, const std::string& other) {
  struct stat first {
  }, second{};
  return ::stat(one.c_str(), &first) == 0 && ::stat(other.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

Result<int> write_flows(const std::vector<std::unique_ptr<FlowSource>>& source,
                        const Settings& settings, std::FILE* out, Progress& progress) {
  const auto output = output_for(settings, out, progress);
  if (!output) return output.error();
  return transfer(source, **output, progress);
}

Result<int> write_stream(const std::vector<std::unique_ptr<FlowSource>>& source,
                         const Settings& settings, Progress& progress) {
  if (is_standard_output(settings.output)) return write_flows(source, settings, stdout, progress);
  auto fd = open_output_file(settings.output, kSaidBy, OutputMode::replace);
  if (!fd) return fd.error();
  const UniqueStream stream{::fdopen(fd->get(), "wb")};
  if (!stream) return base::os_error("--output: cannot write", errno);
  static_cast<void>(fd->release());
  auto status = write_flows(source, settings, stream.get(), progress);
  if (status && std::fflush(stream.get()) != 0)
    return base::os_error("--output: cannot write", errno);
  return status;
}

}  // namespace

Result<int> export_command(const Invocation& invocation) {
  if (auto became = become_caller(invocation); !became) return became.error();
  Settings settings = invocation.typed;
  const auto format = format_of(invocation);
  if (!format) return format.error();
  settings.file_format = *format;
  say_unused_options(invocation, *format);
  const auto filter = filter_of_words(invocation);
  if (!filter) return filter.error();
  Progress progress;
  const auto source = source_of_words(invocation, *filter, progress);
  if (!source) return source.error();
  if (is_stream(settings.output)) return write_stream(*source, settings, progress);
  if (is_same_file(find_session(invocation.positional.front()), settings.output))
    return base::failure("--output: {} is FILE itself; name another file",
                         base::printable(settings.output));
  auto file = NewFile::create(settings.output, kSaidBy, settings.force);
  if (!file) return file.error();
  const auto output = output_for(settings, file->stream(), progress);
  if (!output) return output.error();
  const auto status = transfer(*source, **output, progress);
  if (!status)
    return base::Error{
        fmt::format("--output: {}: {}", base::printable(settings.output), status.error().text),
        status.error().os_code};
  if (auto published = file->publish(); !published) return published.error();
  progress.erase();
  fmt::print("wrote {} flow{} to {}\n", progress.flows(), progress.flows() == 1 ? "" : "s",
             base::printable(settings.output));
  return *status;
}

}  // namespace mitm::cli
