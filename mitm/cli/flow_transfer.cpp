#include "mitm/cli/flow_transfer.h"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/fields_output.h"
#include "mitm/cli/filter_text.h"
#include "mitm/cli/log_line.h"
#include "mitm/format/shell_words.h"

namespace mitm::cli {
namespace {

using base::Result;

/// FILTER and FILE in the wrong order are said to be that.
base::Error source_error(const Invocation& invocation, const base::Error& error) {
  const auto& words = invocation.positional;
  if (error.os_code != ENOENT || words.size() < 2 || ::access(words[1].c_str(), F_OK) != 0)
    return error;
  return base::failure("{}; FILE comes first: osproxy {} {} FILTER", error.text, invocation.command,
                       base::printable(words[1]));
}

/// A filter in the place of a second file is said to be that.
base::Error missing_file(const Invocation& invocation, const std::string& word,
                         const base::Error& error) {
  const auto& words = invocation.positional;
  const bool is_path =
      word.find('/') != word.npos && word.find_first_of(" ~=<>!()\"'&|") == word.npos;
  if (invocation.command != "open" || &word == &words.front() || is_path) return error;
  return base::failure("{}; if it is a filter: osproxy open {} --view {}", error.text,
                       format::shell_word(base::printable(words.front())),
                       format::shell_word(base::printable(word)));
}

/// A file that was named among others.
class UnreadableSource final : public FlowSource {
 public:
  explicit UnreadableSource(base::Error error) : error_(std::move(error)) {}
  Result<std::optional<flow::Flow>> next() override { return error_; }
  [[nodiscard]] bool goes_on() const override { return false; }

 private:
  base::Error error_;
};

bool is_regular_file(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

}  // namespace

Result<query::Filter> filter_of_words(const Invocation& invocation) {
  const auto& words = invocation.positional;
  if (words.size() < 2) return parse_filter_text("", "FILTER");
  // A second file would be taken for a word of the URL, and nothing would match.
  if (is_regular_file(words[0]) && is_regular_file(words[1])) {
    const std::string name = base::printable(words[1]);
    return base::Error{
        fmt::format("{} reads one FILE, and FILTER names a file as well: '{}'; several files: "
                    "osproxy open {} {}; as a word of the URL: '~u {}'",
                    invocation.command, name, base::printable(words[0]), name, name),
        kUsageError};
  }
  return parse_filter_text(words[1], "FILTER");
}

Result<std::vector<std::unique_ptr<FlowSource>>> source_of_words(const Invocation& invocation,
                                                                 const query::Filter& filter,
                                                                 Progress& progress) {
  std::vector<std::unique_ptr<FlowSource>> sources;
  auto source =
      open_flow_source(invocation.positional.front(), filter, invocation.typed.sort, progress);
  if (!source) return source_error(invocation, source.error());
  sources.push_back(std::move(*source));
  return sources;
}

Result<std::vector<std::unique_ptr<FlowSource>>> sources_of_files(const Invocation& invocation,
                                                                  const query::Filter& filter,
                                                                  Progress& progress) {
  const auto& words = invocation.positional;
  const bool goes_on = invocation.command == "open" && words.size() > 1;
  std::vector<std::unique_ptr<FlowSource>> sources;
  for (const std::string& word : words) {
    auto source = open_flow_source(word, filter, "", progress);
    if (!source && source.error().os_code == ENOENT)
      return missing_file(invocation, word, source.error());
    if (!source && !goes_on) return source.error();
    if (source)
      sources.push_back(std::move(*source));
    else
      sources.push_back(std::make_unique<UnreadableSource>(source.error()));
  }
  return sources;
}

Result<std::unique_ptr<FlowOutput>> output_for(const Settings& settings, std::FILE* out,
                                               Progress& progress) {
  if (settings.fields.empty()) return make_flow_output(settings, out, progress);
  return make_fields_output(settings.fields, settings, out, progress);
}

Result<bool> transfer(FlowSource& source, Progress& progress,
                      const std::function<Result<>(const flow::Flow& flow)>& take) {
  bool whole = true;
  for (;;) {
    auto flow = source.next();
    if (!flow) {
      whole = false;
      progress.erase();
      log_line(flow.error().text, base::LogLevel::warning);
      if (!source.goes_on()) return false;
      continue;
    }
    if (!*flow) return whole;
    progress.add_flow();
    if (auto taken = take(**flow); !taken) return taken.error();
  }
}

Result<int> transfer(const std::vector<std::unique_ptr<FlowSource>>& sources, FlowOutput& output,
                     Progress& progress) {
  bool whole = true;
  const auto write = [&](const flow::Flow& flow) { return output.write(flow); };
  const auto failed = [](const base::Error& error) -> Result<int> {
    if (error.os_code == EPIPE) return 0;
    return error;
  };
  for (const auto& source : sources) {
    const auto done = transfer(*source, progress, write);
    if (!done) return failed(done.error());
    whole = whole && *done;
  }
  if (const auto ended = output.end(); !ended) return failed(ended.error());
  return whole ? 0 : 1;
}

}  // namespace mitm::cli
