// Everything that the user's own paths and texts are needed for, done by a process with the user's
// own rights.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "divert/process/privilege.h"
#include "mitm/cli/command_line.h"
#include "mitm/cli/filter_check.h"
#include "mitm/cli/session_output.h"
#include "mitm/cli/settings.h"
#include "mitm/control/rule_list.h"
#include "mitm/tls/client_certificate.h"

namespace mitm::cli {

/// What root takes over from it: validated settings and open files.
struct Prepared {
  Settings settings;
  divert::Policy policy;
  /// PEM text: of --upstream-ca, --upstream-ca-only and (exec) the variables that exec overwrites.
  std::string upstream_ca;
  base::UniqueFd output;  ///< --output; none: the terminal
  base::UniqueFd pcap;    ///< --pcap
  base::UniqueFd keylog;  ///< --keylog
  std::vector<tls::ClientCertificateText> client_certs;
  base::UniqueFd pinning_file;  ///< what the run learns to pass is listed there; none: nowhere
  SessionFile session_file = SessionFile::continued;
  std::string note;  ///< what is to be said before the run; empty: nothing
  /// Of messages, not read yet: the worker does, root does not.
  control::RuleTexts rules{};
};

/// What `run` is to intercept.
struct Chosen {
  divert::ProgramFilter filter;
  std::vector<Unfound>
      unfound;  ///< items for which no file and no account was found; not with --wait-for
  bool allow_untrusted = false;
};

/// With the caller's rights: whether a run could read what it would have to. Writes nothing.
[[nodiscard]] base::Result<> check_files(const Settings& settings, const std::string& home);

/// Forks a process that becomes `user`, reads the configuration, compiles the filter, opens the
/// files and ends. Root never opens a path of the user's and never parses what the user wrote.
/// Closes all descriptors beyond standard error but those that are returned: what is inherited must
/// not reach CMD or the worker.
[[nodiscard]] base::Result<Prepared> prepare(const Invocation& invocation, const base::User& user);

/// The same, for a first look before any file is opened or made.
[[nodiscard]] base::Result<Chosen> read_filter(const Invocation& invocation,
                                               const base::User& user);

/// The same for a command that needs its settings only: load_settings() as `user` sees them, but
/// without those that make the policy.
[[nodiscard]] base::Result<Settings> read_settings(const Invocation& invocation,
                                                   const base::User& user);

}  // namespace mitm::cli
