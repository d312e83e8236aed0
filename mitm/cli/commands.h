// The subcommands. Each returns its exit status; an error becomes "osproxy: ..." and 1 (2 for a
// usage error).
#pragma once

#include <string>

#include "base/error.h"
#include "mitm/cli/command_line.h"
#include "mitm/cli/settings.h"
#include "pfctl/ruleset.h"

namespace mitm::cli {

base::Result<int> run_command(const Invocation& invocation);  ///< run and exec
/// Flows of a session or another file, as a filter selects them.
base::Result<int> query_command(const Invocation& invocation);
/// Flows of several sessions and files, as a run shows them.
base::Result<int> open_command(const Invocation& invocation);
/// Likewise into a file of any format.
base::Result<int> export_command(const Invocation& invocation);
/// Flows of files into a session.
base::Result<int> import_command(const Invocation& invocation);
/// Lists, removes and compacts sessions.
base::Result<int> sessions_command(const Invocation& invocation);
/// Prints what a run would load, or a main ruleset with or without our lines; needs no root.
base::Result<int> rules_command(const Invocation& invocation);
base::Result<int> who_command(const Invocation& invocation);
base::Result<int> ca_command(const Invocation& invocation);
base::Result<int> learned_command(const Invocation& invocation);
base::Result<int> config_command(const Invocation& invocation);
base::Result<int> doctor_command(const Invocation& invocation);
base::Result<int> cleanup_command(const Invocation& invocation);

/// Settings of a command that needs no privileged half; read with the rights of the user who typed
/// sudo. Not those that make the policy.
[[nodiscard]] base::Result<Settings> settings_of(const Invocation& invocation);

/// With sudo: becomes the user who typed it, to whom the files belong that a command is about, with
/// what sudo has dropped of that user's environment.
[[nodiscard]] base::Result<> become_caller(const Invocation& invocation);

/// "run needs root to load packet-filter rules; try: sudo osproxy ..." when we are not root.
[[nodiscard]] base::Result<> need_root(const Invocation& invocation, std::string_view purpose);

/// The rules that `settings` ask for, with the listeners' ports and the group filled in.
[[nodiscard]] base::Result<pfctl::Ruleset> ruleset_for(const Settings& settings, gid_t exempt_gid,
                                                       std::uint16_t port_v4,
                                                       std::uint16_t port_v6);

}  // namespace mitm::cli
