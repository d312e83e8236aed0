// Everything that the user's own paths and texts are needed for, done by a process with the user's own
// rights.
#pragma once

#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "divert/privilege.h"
#include "mitm/cli/options.h"
#include "mitm/cli/settings.h"
#include "mitm/tls/client_certificate.h"

namespace mitm::cli {

/// What root takes over from it: validated settings and open files.
struct Prepared {
  RunSettings settings;
  std::string upstream_ca;  ///< PEM text; empty: the system's store
  base::UniqueFd output;    ///< --output; none: the terminal
  base::UniqueFd pcap;      ///< --pcap
  base::UniqueFd keylog;    ///< --keylog
  std::vector<tls::ClientCertificateText> client_certs;
  base::UniqueFd learned;  ///< what the run learns to pass is listed there; none: nowhere
};

/// With the caller's rights: whether a run could read what it would have to. Writes nothing.
[[nodiscard]] base::Result<> check_files(const RunSettings& settings);

/// Forks a process that becomes `user`, reads the configuration, compiles the filter, opens the files and
/// ends. Root never opens a path of the user's and never parses what the user wrote.
[[nodiscard]] base::Result<Prepared> prepare(const Invocation& invocation, const divert::User& user);

/// The same for a command that needs its options only: effective_options() as `user` sees them.
[[nodiscard]] base::Result<nlohmann::json> read_options(const Invocation& invocation,
                                                        const divert::User& user);

}  // namespace mitm::cli
