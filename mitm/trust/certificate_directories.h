// Where OpenSSL reads certificates of CAs while it verifies.
#pragma once

#include <string>
#include <vector>

namespace mitm::trust {

/// The directories in which OpenSSL looks a CA up by its hash (SSL_CERT_DIR, else the one that it
/// was built with), and those to which the links in them lead. Files are read when TLS is set up
/// and are not among them.
[[nodiscard]] std::vector<std::string> certificate_directories();

}  // namespace mitm::trust
