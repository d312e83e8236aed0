// The options of run and exec as values that the program works with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/network.h"
#include "divert/policy/policy.h"
#include "mitm/cli/client_certs.h"
#include "mitm/cli/command_line.h"

namespace mitm::cli {

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

}  // namespace mitm::cli
