// Their files are read elsewhere (config_loader).
#include "mitm/cli/client_certs.h"

#include <fmt/format.h>

#include "base/host_pattern.h"
#include "mitm/cli/object_list.h"
#include "mitm/cli/values.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

constexpr std::size_t kMaxClientCerts = 50;

/// `key` may be left out: it is in the file of the certificate then.
ClientCertPaths read_client_cert(const json& data, ObjectErrors& wrong) {
  wrong.add_unknown_keys(data, {"host", "cert", "key"});
  std::string texts[3];
  const char* const keys[] = {"host", "cert", "key"};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto found = data.find(keys[i]);
    const bool may_be_left_out = i == 2;
    if (found != data.end() && found->is_string() && *found != "") {
      texts[i] = *found;
    } else if (found != data.end() || !may_be_left_out) {
      wrong.add(keys[i], "expected a string, found " +
                             (found == data.end() ? "none" : describe_value(*found)));
    }
  }
  auto host =
      texts[0].empty() ? Result<std::string>{std::string()} : base::parse_host_pattern(texts[0]);
  if (!host) wrong.add("host", host.error().text);
  return {host ? std::move(*host) : std::string(), texts[1],
          texts[2].empty() ? texts[1] : texts[2]};
}

}  // namespace

Result<std::vector<ClientCertPaths>> parse_client_certs(const json& list) {
  if (list.size() > kMaxClientCerts)
    return failure("expected at most {} certificates, found {}", kMaxClientCerts, list.size());
  auto certs = read_list<ClientCertPaths>(list, read_client_cert);
  for (std::size_t i = 0; certs && i < certs->size(); ++i)
    (*certs)[i].place = fmt::format("client-certs[{}]", i);
  return certs;
}

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
                   describe_value(json(std::string(text))));
  return paths;
}

Result<std::vector<ClientCertPaths>> parse_client_cert_options(const json& value) {
  std::vector<ClientCertPaths> certs;
  for (const json& text : value.is_array() ? value : json::array({value})) {
    auto cert = parse_client_cert_option(text.get_ref<const std::string&>());
    if (!cert) return cert.error();
    cert->place = "--client-cert";
    certs.push_back(std::move(*cert));
  }
  return certs;
}

json render_client_certs(const std::vector<ClientCertPaths>& certs) {
  json list = json::array();
  for (const auto& [host, cert, key, place] : certs) {
    json entry{{"host", host}, {"cert", cert}};
    if (key != cert) entry["key"] = key;
    list.push_back(std::move(entry));
  }
  return list;
}

json render_client_cert_options(const std::vector<ClientCertPaths>& certs) {
  json list = json::array();
  for (const auto& [host, cert, key, place] : certs) {
    list.push_back(fmt::format("{}{}{}{}{}", host, host.empty() ? "" : "=", cert,
                               key == cert ? "" : ":", key == cert ? "" : key));
  }
  return list;
}

}  // namespace mitm::cli
