// Client certificates as the config and the command line name them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace mitm::cli {

/// One entry of the config's `client-certs`, or one --client-cert.
struct ClientCertPaths {
  std::string host;  ///< as base::host_matches wants it; empty: every host
  std::string cert;
  std::string key;
  std::string place{};  ///< for errors: "--client-cert", "client-certs[1]"
};

/// The config's `client-certs`; their files are not looked at. Errors as of parse_rules().
[[nodiscard]] base::Result<std::vector<ClientCertPaths>> parse_client_certs(
    const nlohmann::json& list);
/// Each --client-cert: a list of texts, or one.
[[nodiscard]] base::Result<std::vector<ClientCertPaths>> parse_client_cert_options(
    const nlohmann::json& value);
/// "[HOST=]CERT[:KEY]". What precedes a '=' is a host only when it looks like one.
[[nodiscard]] base::Result<ClientCertPaths> parse_client_cert_option(std::string_view text);

/// What the first two read.
nlohmann::json render_client_certs(const std::vector<ClientCertPaths>& certs);
nlohmann::json render_client_cert_options(const std::vector<ClientCertPaths>& certs);

}  // namespace mitm::cli
