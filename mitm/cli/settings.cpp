// From checked JSON values to the types of the rooms below.
#include "mitm/cli/settings.h"

#include <bit>
#include <concepts>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <openssl/ssl.h>

#include "mitm/cli/error_codes.h"
#include "mitm/cli/options.h"
#include "mitm/cli/policy_options.h"
#include "mitm/cli/values.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

int tls_number(const std::string& version) {
  if (version == "1.0") return TLS1_VERSION;
  if (version == "1.1") return TLS1_1_VERSION;
  return version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION;
}

Result<std::vector<ClientCertPaths>> typed_client_certs(const json& effective) {
  std::vector<ClientCertPaths> certs;
  for (const json& text : effective.value("client-cert", json::array())) {
    auto cert = parse_client_cert_option(text.get<std::string>());
    if (!cert) return failure("--client-cert: {}", cert.error().text);
    cert->place = "--client-cert";
    certs.push_back(std::move(*cert));
  }
  return certs;
}

/// What is wrong with the list `key`, or with the one in it whose place the error begins with.
base::Error in_list(std::string_view key, const base::Error& error) {
  return {fmt::format("{}{}{}", key, error.text.starts_with('[') ? "" : ": ", error.text),
          error.os_code};
}

/// The fields that are plain values, with their keys.
void each_plain(auto& settings, auto visit) {
  visit("usual_ports", settings.usual_ports);
  visit("engine", settings.engine);
  visit("mark_bit", settings.mark_bit);
  visit("block_quic", settings.block_quic);
  visit("ipv4", settings.ipv4);
  visit("ipv6", settings.ipv6);
  visit("loopback", settings.loopback);
  visit("listen_port", settings.listen_port);
  visit("format", settings.format);
  visit("output", settings.output);
  visit("pcap", settings.pcap);
  visit("color", settings.color);
  visit("ca_dir", settings.ca_dir);
  visit("upstream_ca_path", settings.upstream_ca_path);
  visit("upstream_ca_only_path", settings.upstream_ca_only_path);
  visit("error_page", settings.error_page);
  visit("tls_min", settings.tls_min);
  visit("tls_ciphers", settings.tls_ciphers);
  visit("keylog", settings.keylog);
  visit("detail", settings.detail);
  visit("bodies", settings.bodies);
  visit("insecure", settings.insecure);
  visit("wait_for", settings.wait_for);
  visit("allow_untrusted", settings.allow_untrusted);
  visit("wait", settings.wait);
  visit("passthrough_ttl", settings.passthrough_ttl);
  visit("passthrough_after", settings.passthrough_after);
  visit("threads", settings.threads);
}

bool read_plain(const json& data, bool& value) {
  if (data.is_boolean()) value = data;
  return data.is_boolean();
}

bool read_plain(const json& data, std::string& value) {
  if (data.is_string()) value = data;
  return data.is_string();
}

template <std::integral Number>
bool read_plain(const json& data, Number& value) {
  const bool fits = data.is_number_unsigned() ? std::in_range<Number>(data.get<std::uint64_t>())
                                              : data.is_number_integer() &&
                                                    std::in_range<Number>(data.get<std::int64_t>());
  if (fits) value = data.get<Number>();
  return fits;
}

template <class Item>
bool read_texts(const json& data, const char* key, Result<Item> (*parse)(std::string_view),
                std::vector<Item>& items) {
  const auto list = data.find(key);
  if (list == data.end() || !list->is_array()) return false;
  for (const json& text : *list) {
    if (!text.is_string()) return false;
    auto item = parse(text.get_ref<const std::string&>());
    if (!item) return false;
    items.push_back(std::move(*item));
  }
  return true;
}

base::Error foreign(const char* what) {
  return failure("settings that osproxy did not write: {}", what);
}

/// The field whose value no option can give; null when all is well.
const char* out_of_range(const RunSettings& settings) {
  const auto good = [](const char* option, const json& value) {
    return check_value(*find_option(option), value).has_value();
  };
  if (!settings.ipv4 && !settings.ipv6) return "ipv6";
  if (!good("format", settings.format)) return "format";
  if (!good("engine", settings.engine)) return "engine";
  if (!std::has_single_bit(settings.mark_bit)) return "mark_bit";
  if (!good("color", settings.color)) return "color";
  if (!good("error-page", settings.error_page)) return "error_page";
  if (!good("detail", settings.detail)) return "detail";
  if (!good("threads", settings.threads)) return "threads";
  if (settings.passthrough_ttl < 0 || settings.passthrough_ttl > kLongestTime.count())
    return "passthrough_ttl";
  if (!good("passthrough-after", settings.passthrough_after)) return "passthrough_after";
  if (settings.group && !good("group", *settings.group)) return "group";
  if (settings.tls_min < TLS1_VERSION || settings.tls_min > TLS1_3_VERSION) return "tls_min";
  if (settings.bodies > kLargestSize) return "bodies";
  return nullptr;
}

json texts(const auto& items) {
  json list = json::array();
  for (const auto& item : items) list.push_back(base::to_string(item));
  return list;
}

int default_threads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 64);
}

}  // namespace

Result<RunSettings> run_settings(const json& effective, const Invocation& invocation) {
  RunSettings settings;
  if (effective.contains("ports")) {
    auto ports = parse_ports(effective["ports"]);
    if (!ports) return failure("ports: {}", ports.error().text);
    settings.ports = std::move(*ports);
    settings.usual_ports = false;
  }
  const auto mark = parse_mark(effective.value("mark", "0x10000000"));
  if (!mark) return failure("mark: {}", mark.error().text);
  settings.mark_bit = *mark;
  settings.engine = effective.value("engine", "auto");
  settings.block_quic = effective.value("quic", "block") == "block";
  auto excluded = parse_networks(effective.value("exclude", json("")));
  if (!excluded) return failure("exclude: {}", excluded.error().text);
  settings.excluded = std::move(*excluded);
  const std::string family = effective.value("family", "both");
  settings.ipv4 = family != "ipv6";
  settings.ipv6 = family != "ipv4";
  settings.loopback = effective.value("loopback", false);
  if (effective.contains("group")) settings.group = effective["group"].get<std::uint32_t>();
  settings.listen_port = effective.value("listen-port", std::uint16_t{0});
  if (invocation.command != "exec") {
    auto filter = divert::ProgramFilter::parse(effective.value("filter", ""));
    if (!filter) return base::Error{filter.error().text, kUsageError};
    settings.policy.filter = std::move(*filter);
  }
  auto rules = parse_rules(effective.value("rules", json::array()));
  if (!rules) return in_list("rules", rules.error());
  settings.policy.rules = std::move(*rules);
  if (const auto added = add_host_rules(effective, settings.policy.rules); !added)
    return added.error();
  settings.policy.upstream = effective.value("upstream-proxy", "");
  if (settings.policy.upstream == "direct") settings.policy.upstream.clear();
  settings.format = effective.value("format", "text");
  settings.output = effective.value("output", "");
  settings.pcap = effective.value("pcap", "");
  settings.color = effective.value("color", "auto");
  settings.ca_dir = effective.value("ca-dir", "");
  settings.upstream_ca_path = effective.value("upstream-ca", "");
  settings.upstream_ca_only_path = effective.value("upstream-ca-only", "");
  settings.error_page = effective.value("error-page", "browsers");
  settings.tls_min = tls_number(effective.value("tls-min", ""));
  settings.tls_ciphers = effective.value("tls-ciphers", "");
  settings.keylog = effective.value("keylog", "");
  auto client_certs = parse_client_certs(effective.value("client-certs", json::array()));
  if (!client_certs) return in_list("client-certs", client_certs.error());
  settings.client_certs = std::move(*client_certs);
  for (std::size_t i = 0; i < settings.client_certs.size(); ++i)
    settings.client_certs[i].place = fmt::format("client-certs[{}]", i);
  auto typed_certs = typed_client_certs(effective);
  if (!typed_certs) return typed_certs.error();
  // What was typed goes first: the first whose host fits is shown.
  settings.client_certs.insert(settings.client_certs.begin(), typed_certs->begin(),
                               typed_certs->end());
  settings.detail = effective.value("detail", 1);
  const auto bodies = parse_size(effective.value("bodies", "0"));
  if (!bodies) return failure("bodies: {}", bodies.error().text);
  settings.bodies = *bodies;
  settings.insecure = effective.value("insecure", false);
  settings.wait_for = effective.value("wait-for", false);
  settings.allow_untrusted = effective.value("allow-untrusted", false);
  settings.wait = effective.value("wait", false);
  const auto ttl = parse_duration(effective.value("passthrough-ttl", "10m"));
  if (!ttl) return failure("passthrough-ttl: {}", ttl.error().text);
  settings.passthrough_ttl = ttl->count();
  settings.passthrough_after = effective.value("passthrough-after", 3U);
  settings.threads = effective.value("threads", default_threads());
  return settings;
}

std::vector<base::PortRange> RunSettings::redirect_ports() const {
  if (usual_ports) return {{80, 80}, {443, 443}, {8000, 8000}, {8080, 8080}, {8443, 8443}};
  return ports;
}

std::vector<base::PortRange> RunSettings::packet_ports() const {
  return usual_ports ? std::vector<base::PortRange>{} : ports;
}

json RunSettings::to_json() const {
  json data{{"ports", texts(ports)}, {"excluded", texts(excluded)}, {"policy", policy.to_json()}};
  each_plain(*this, [&](const char* key, const auto& value) { data[key] = value; });
  if (group) data["group"] = *group;
  return data;
}

Result<RunSettings> RunSettings::from_json(const json& data) {
  RunSettings settings;
  if (!data.is_object()) return foreign("the whole");
  std::size_t known = 3;
  const char* wrong = nullptr;
  each_plain(settings, [&](const char* key, auto& value) {
    const auto found = data.find(key);
    if (found == data.end() || !read_plain(*found, value)) wrong = key;
    ++known;
  });
  if (const auto group = data.find("group"); group != data.end()) {
    settings.group.emplace();
    if (!read_plain(*group, *settings.group)) wrong = "group";
    ++known;
  }
  if (!read_texts(data, "ports", base::parse_port_range, settings.ports)) wrong = "ports";
  if (!read_texts(data, "excluded", base::parse_network, settings.excluded)) wrong = "excluded";
  if (wrong) return foreign(wrong);
  if (const auto* odd = out_of_range(settings)) return foreign(odd);
  if (!data.contains("policy") || data.size() != known) return foreign("its keys");
  auto policy = divert::Policy::from_json(data["policy"]);
  if (!policy) return policy.error();
  settings.policy = std::move(*policy);
  return settings;
}

}  // namespace mitm::cli
