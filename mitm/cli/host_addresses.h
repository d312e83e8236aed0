// The addresses of a host, asked of the name services.
#pragma once

#include <string>
#include <vector>

#include "base/network.h"
#include "base/user.h"

namespace mitm::cli {

/// Blocks as long as name services do. Empty: no such host. Not as root.
[[nodiscard]] std::vector<base::Address> addresses_of(const std::string& host);

/// The same, by a process that becomes `user`: root reads nothing from the network.
[[nodiscard]] std::vector<base::Address> addresses_of(const std::string& host,
                                                      const base::User& user);

}  // namespace mitm::cli
