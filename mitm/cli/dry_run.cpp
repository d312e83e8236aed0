#include "mitm/cli/dry_run.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "divert/process/privilege.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/config.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/flow_source.h"
#include "mitm/cli/message_rules.h"
#include "mitm/control/exchange.h"

namespace mitm::cli {
namespace {

using base::Result;

constexpr std::string_view kMessageOptions[] = {"modify-headers", "modify-body", "map-local",
                                                "block-list",     "anticache",   "anticomp",
                                                "stickycookie",   "stickyauth"};

/// An option of mitmproxy's may be several rules; they have one name. Rules of a list that have one
/// by chance are counted by themselves.
struct Count {
  std::string name;
  bool enabled = true;
  std::vector<const control::Rule*> rules{};
  std::uint64_t flows = 0;
};

std::vector<Count> counts_of(const std::vector<control::Rule>& rules) {
  std::vector<Count> counts;
  for (const control::Rule& rule : rules) {
    auto found = rule.name.starts_with("--") ? std::ranges::find(counts, rule.name, &Count::name)
                                             : counts.end();
    if (found == counts.end())
      found = counts.insert(counts.end(), {.name = rule.name, .enabled = rule.enabled});
    found->rules.push_back(&rule);
  }
  return counts;
}

void count(const flow::HttpFlow& flow, std::vector<Count>& counts) {
  for (Count& one : counts) {
    const bool touched = std::ranges::any_of(
        one.rules, [&](const auto* rule) { return control::would_touch(*rule, flow); });
    if (touched) ++one.flows;
  }
}

void print(const std::vector<Count>& counts) {
  std::uint64_t most = 0;
  for (const Count& one : counts) most = std::max(most, one.flows);
  const std::size_t width = std::to_string(most).size();
  for (const Count& one : counts) {
    fmt::print("{:>{}}  {}{}\n", one.flows, width, base::printable(one.name),
               one.enabled ? "" : " (not enabled)");
  }
}

Result<> check_options(const Invocation& invocation) {
  for (const Option* given : invocation.given) {
    if (given->name != "dry-run" && given->name != "config" && !is_about_messages(given->name)) {
      return base::Error{
          fmt::format("--{} does not go with --dry-run, which is about rules for messages",
                      given->name),
          kUsageError};
    }
  }
  return {};
}

}  // namespace

bool is_about_messages(std::string_view option) {
  return std::ranges::find(kMessageOptions, option) != std::end(kMessageOptions);
}

Result<int> dry_run(const Invocation& invocation) {
  if (const auto good = check_options(invocation); !good) return good.error();
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  if (const auto became = become_caller(invocation); !became) return became.error();
  const auto settings = load_settings(invocation, user->home);
  if (!settings) return settings.error();
  const auto rules = control::compile(rule_texts_of(*settings, user->home));
  if (!rules) return rules.error();
  if (rules->empty())
    return base::failure(
        "there is no rule for messages, neither in a config file nor as an option such as "
        "--modify-headers");
  Progress progress;
  const auto source =
      open_flow_source(settings->dry_run, *query::Filter::parse("~http"), "", progress);
  if (!source) return source.error();
  std::vector<Count> counts = counts_of(*rules);
  for (;;) {
    const auto flow = (*source)->next();
    if (!flow) return flow.error();
    if (!*flow) break;
    progress.add_flow();
    progress.show();
    if (const auto* const http = (*flow)->http()) count(*http, counts);
  }
  progress.erase();
  print(counts);
  return 0;
}

}  // namespace mitm::cli
