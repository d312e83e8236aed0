// Options that people know from curl and mitmproxy have another name here; and an option behind a
// program's name is most likely that program's.
#include "mitm/cli/unknown_option.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/suggestion.h"

namespace mitm::cli {
namespace {

struct Elsewhere {
  std::string_view option;
  std::string_view here;
};
constexpr std::array<Elsewhere, 18> kElsewhere{
    {{"--cacert", "--upstream-ca FILE trusts a CA of the servers"},
     {"--cert", "--client-cert CERT:KEY is shown to servers that ask for a certificate"},
     {"--proxy", "--upstream-proxy URL reaches servers through a proxy"},
     {"-v", "-d 2 shows headers"},
     {"--verbose", "-d 2 shows headers"},
     {"-q", "-d 0 shows no flows"},
     {"--quiet", "-d 0 shows no flows"},
     {"--flow-detail", "-d 0 to 4 says how much is shown"},
     {"--ssl-insecure", "-k (--insecure) does not verify servers"},
     {"--ignore-hosts", "--pass HOSTS lets hosts pass"},
     {"--allow-hosts", "--only HOSTS decrypts no other hosts"},
     {"--save-stream-file", "-f jsonl -o FILE records flows"},
     {"-r", "flows cannot be read back yet; -f jsonl -o FILE records them"},
     {"-s", "there are no scripts yet"},
     {"--scripts", "there are no scripts yet"},
     {"--map-remote",
      "requests cannot be sent to another server yet; --map-local answers with files"},
     {"--intercept", "messages cannot be held yet; rules change them"},
     {"--set", "options have names of their own here"}}};

std::string_view here(std::string_view option) {
  const auto* const found = std::ranges::find(kElsewhere, option, &Elsewhere::option);
  return found == kElsewhere.end() ? std::string_view() : found->here;
}

}  // namespace

std::string unknown_option(std::string_view option, std::string_view command,
                           const std::vector<std::string_view>& known,
                           std::span<const std::string> words) {
  const std::string near = base::suggestion(option, known);
  if (!near.empty())
    return fmt::format("unknown option {}{} See osproxy {} --help", option, near, command);
  const bool is_behind_program =
      command == "run" && !words.empty() && !words.front().starts_with('-');
  if (is_behind_program)
    return fmt::format(
        "unknown option {}; to run a command and intercept it: osproxy exec -- {}; else see "
        "osproxy run --help",
        option, fmt::join(words, " "));
  const auto other = here(option);
  return fmt::format("unknown option {}{}{}; see osproxy {} --help", option,
                     other.empty() ? "" : ": ", other, command);
}

}  // namespace mitm::cli
