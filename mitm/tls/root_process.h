// Where the root's key is read, made and used: in a child process that ends with the call. What the
// caller forks later (worker, guard, CMD) can have no copy of it, and neither has the caller
// itself.
#pragma once

#include <string>

#include "base/error.h"
#include "mitm/tls/openssl.h"

namespace mitm::tls {

// Each forks, waits for the child and takes over what may be known: certificates, and the
// intermediate's own key. Blocking: milliseconds; after ten seconds the child is killed and the
// call fails. From a process with threads as well: should the child wait for a lock that another
// thread held, it is killed like that. Errors are those of authority.h.

/// create_root(); returns the certificate.
[[nodiscard]] base::Result<X509Ptr> create_root_in_child(const std::string& directory);

/// load_or_create_root(), with all that is checked there; returns the certificate.
[[nodiscard]] base::Result<X509Ptr> ensure_root_in_child(const std::string& directory);

/// A new intermediate signed by the root in `directory`, as to_pem(Identity) writes it.
[[nodiscard]] base::Result<std::string> issue_intermediate_in_child(const std::string& directory);

}  // namespace mitm::tls
