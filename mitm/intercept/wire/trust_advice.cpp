// Some runtimes have a list of CAs of their own and never look at the system's: for them
// `ca install` is no remedy, and each has its own way to be told of one more CA.
#include "mitm/intercept/wire/trust_advice.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace mitm::intercept {
namespace {

constexpr std::string_view kNaming = "curl --cacert FILE, verify=FILE in Python's requests, ...";

/// The variable by which a runtime with its own list is told of more CAs. Python is not here: its
/// requests library looks at another variable than its ssl module.
struct OwnList {
  std::string_view program;  ///< base name of the executable
  std::string_view variable;
};
constexpr std::array<OwnList, 4> kOwnLists{{{"node", "NODE_EXTRA_CA_CERTS"},
                                            {"nodejs", "NODE_EXTRA_CA_CERTS"},
                                            {"bun", "NODE_EXTRA_CA_CERTS"},
                                            {"deno", "DENO_CERT"}}};

/// Empty: the program is none of these.
std::string_view variable_of(std::string_view program) {
  const auto name = program.substr(program.rfind('/') + 1);
  const auto* const found = std::ranges::find(kOwnLists, name, &OwnList::program);
  return found == kOwnLists.end() ? std::string_view() : found->variable;
}

}  // namespace

std::string advice_on_trust(const Settings& settings, std::string_view program) {
  if (!settings.exec_ca_file.empty())
    return fmt::format(
        "it has a list of CAs of its own and looks at none of the variables that exec sets: name "
        "{} to it ({}), or let the host pass",
        settings.exec_ca_file, kNaming);
  const std::string_view variable = variable_of(program);
  if (!variable.empty())
    return fmt::format(
        "it has a list of CAs of its own and does not look at the system's: start it with osproxy "
        "exec, or with {}={}, or let the host pass",
        variable, settings.root_ca_file);
  if (settings.learned->settings().ca_trusted)
    return fmt::format(
        "it has a list of CAs of its own, for a trust store of this machine has osproxy's: start "
        "it with osproxy exec, or name {} to it ({}), or let the host pass",
        settings.root_ca_file, kNaming);
  return "install it with osproxy ca install, start the program with osproxy exec, or let the host "
         "pass";
}

}  // namespace mitm::intercept
