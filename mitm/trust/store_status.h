// What a trust store says.
#pragma once

#include <string>

namespace mitm::trust {

struct StoreStatus {
  enum class State { trusted, absent, unavailable } state = State::absent;
  std::string store;    ///< "system (/usr/local/share/ca-certificates)", "NSS
                        ///< (/home/ann/.pki/nssdb)", "Java (...)"
  std::string detail;   ///< what to do, or why unavailable ("certutil is missing: apt install
                        ///< libnss3-tools")
  bool failed = false;  ///< what was to be done could not be done; `detail` says why
};

}  // namespace mitm::trust
