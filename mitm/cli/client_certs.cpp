// Client certificates as they are named on the command line.
#include <fmt/format.h>

#include "base/host_pattern.h"
#include "mitm/cli/settings.h"

namespace mitm::cli {

using base::failure;
using base::Result;
using nlohmann::json;

Result<ClientCertPaths> parse_client_cert_option(std::string_view text) {
  ClientCertPaths paths;
  const auto equals = text.find('=');
  if (equals != text.npos && text.substr(0, equals).find('/') == text.npos) {
    auto host = base::parse_host_pattern(text.substr(0, equals));
    if (!host) return host.error();
    paths.host = std::move(*host);
    text.remove_prefix(equals + 1);
  }
  const auto colon = text.rfind(':');
  paths.cert = text.substr(0, colon);
  paths.key = colon == text.npos ? paths.cert : text.substr(colon + 1);
  if (paths.cert.empty() || paths.key.empty())
    return failure("expected [HOST=]CERT[:KEY], for example *.example.org=me.pem:me.key, found {}",
                   shown(json(std::string(text))));
  return paths;
}

}  // namespace mitm::cli
