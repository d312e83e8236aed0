// The trust stores of this machine: who trusts our root, and putting it in and taking it out.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace mitm::tls {

/// The person whose browsers and files are meant: who typed sudo.
struct StoreUser {
  unsigned uid = 0;
  unsigned gid = 0;
  std::string name;
  std::string home;
};

struct StoreStatus {
  enum class State { trusted, absent, unavailable } state = State::absent;
  std::string
      store;  ///< "system (/usr/local/share/ca-certificates)", "NSS (/home/ann/.pki/nssdb)", "Java (...)"
  std::string detail;  ///< what to do, or why unavailable ("certutil is missing: apt install libnss3-tools")
};

/// Every trust store found, in a stable order: system, NSS databases of `user` (run with the user's own ids),
/// Java.
std::vector<StoreStatus> trust_status(const std::string& root_pem_path, const StoreUser& user);

/// Idempotent. Returns what each store says now. Needs root for the system store.
base::Result<std::vector<StoreStatus>> install_trust(const std::string& root_pem_path, const StoreUser& user);
base::Result<std::vector<StoreStatus>> uninstall_trust(const std::string& root_pem_path,
                                                       const StoreUser& user);

/// System roots and ours in one PEM file, readable by everyone; made anew when either has changed. Returns
/// its path. For programs that are to trust us without any installation (`osproxy exec`).
base::Result<std::string> write_combined_bundle(const std::string& directory,
                                                const std::string& root_pem_path);

/// NAME=VALUE settings that make common runtimes trust `bundle` (facts-linux.md lists them).
/// JAVA_TOOL_OPTIONS only when a Java is there, with a trust store made beside the bundle; an existing value
/// is kept in front.
std::vector<std::pair<std::string, std::string>> trust_variables(const std::string& bundle,
                                                                 const std::string& root_pem_path);

}  // namespace mitm::tls
