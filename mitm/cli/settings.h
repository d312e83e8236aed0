// The options of run and exec as values that the program works with.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/network.h"
#include "divert/policy/policy.h"
#include "mitm/cli/options.h"

namespace mitm::cli {

inline constexpr std::uint64_t kLargestSize = std::uint64_t{1} << 40;
inline constexpr std::chrono::seconds kLongestTime = std::chrono::hours{7 * 24};

/// One entry of the config's `client-certs`, or one --client-cert.
struct ClientCertPaths {
  std::string host;  ///< as base::host_matches wants it; empty: every host
  std::string cert;
  std::string key;
  std::string place{};  ///< for errors: "--client-cert", "client-certs[1]"
};

struct RunSettings {
  bool usual_ports = true;             ///< no ports were named: each engine has its own
  std::vector<base::PortRange> ports;  ///< that were named; empty: all
  std::vector<base::Network> excluded;
  bool ipv4 = true;
  bool ipv6 = true;
  bool loopback = false;
  std::optional<std::uint32_t> group;
  std::uint16_t listen_port = 0;  ///< 0: the usual one, else any
  std::string engine = "auto";
  std::uint32_t mark_bit = 0;
  bool block_quic = true;
  divert::Policy policy;
  std::string format;
  std::string output;  ///< path; empty: the terminal
  std::string pcap;
  std::string color;
  std::string ca_dir;
  std::string upstream_ca_path;
  std::string upstream_ca_only_path;
  std::string error_page = "browsers";
  std::string tls_ciphers;  ///< OpenSSL's names; empty: the program's own
  std::string keylog;
  std::vector<ClientCertPaths> client_certs;  ///< for the reader: not part of to_json
  int tls_min = 0;                            ///< OpenSSL's number, TLS1_2_VERSION
  int detail = 1;
  std::size_t bodies = 0;  ///< bytes of each body to record
  bool insecure = false;
  bool wait_for = false;         ///< --wait-for
  bool allow_untrusted = false;  ///< --allow-untrusted
  bool wait = false;
  std::int64_t passthrough_ttl = 600;  ///< seconds; 0: nothing is learned
  unsigned passthrough_after = 3;
  int threads = 1;

  [[nodiscard]] std::vector<base::PortRange> redirect_ports() const;
  [[nodiscard]] std::vector<base::PortRange> packet_ports() const;

  /// Plain data, for the way from the unprivileged reader to the broker; from_json accepts only
  /// what to_json can make.
  [[nodiscard]] nlohmann::json to_json() const;
  [[nodiscard]] static base::Result<RunSettings> from_json(const nlohmann::json& data);
};

/// `effective`: what effective_options() gave.
[[nodiscard]] base::Result<RunSettings> run_settings(const nlohmann::json& effective,
                                                     const Invocation& invocation);

/// "80,443,8000-8100" or "all" (which is no range at all); as a string or as a list of them.
[[nodiscard]] base::Result<std::vector<base::PortRange>> parse_ports(const nlohmann::json& value);
/// A single bit, "0x10000000" or in decimal.
[[nodiscard]] base::Result<std::uint32_t> parse_mark(std::string_view text);
/// "10.0.0.0/8,fe80::/10", as a string or as a list of them; "" and [] are none.
[[nodiscard]] base::Result<std::vector<base::Network>> parse_networks(const nlohmann::json& value);
/// "4096", "64k", "10M", "1G".
[[nodiscard]] base::Result<std::uint64_t> parse_size(std::string_view text);
/// "90" (seconds), "90s", "10m", "2h": at most a week.
[[nodiscard]] base::Result<std::chrono::seconds> parse_duration(std::string_view text);
/// The strings of a value that is one string (commas separate) or a list of them; of "" there are
/// none.
[[nodiscard]] std::vector<std::string> words_in(const nlohmann::json& value);
/// "example.org,*.example.net", as a string or as a list of them, as base::host_matches wants
/// them.
[[nodiscard]] base::Result<std::vector<std::string>> parse_hosts(const nlohmann::json& value);
/// The config's `client-certs`; their files are not looked at. Errors as of parse_rules().
[[nodiscard]] base::Result<std::vector<ClientCertPaths>> parse_client_certs(
    const nlohmann::json& list);
/// "[HOST=]CERT[:KEY]". What stands before a '=' is a host only when it looks like one.
[[nodiscard]] base::Result<ClientCertPaths> parse_client_cert_option(std::string_view text);
/// The config's `rules`. An error has a line for each thing that is wrong, which begins with its
/// place:
/// "[1].host: expected ...".
[[nodiscard]] base::Result<std::vector<divert::Rule>> parse_rules(const nlohmann::json& list);
/// What the options block, pass and only ask for, added to the rules of the file: before them, and,
/// with only, a last one that lets everything else pass.
[[nodiscard]] base::Result<> add_host_rules(const nlohmann::json& effective,
                                            std::vector<divert::Rule>& rules);

}  // namespace mitm::cli
