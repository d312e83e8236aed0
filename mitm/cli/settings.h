// The values of all options, typed. Each member is that of one option (option_table.cpp), and its
// initialiser is the option's default.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/network.h"
#include "divert/broker/broker.h"
#include "divert/policy/policy.h"
#include "mitm/cli/client_certs.h"
#include "mitm/cli/values.h"
#include "mitm/format/mitm_file.h"
#include "mitm/intercept/context/context.h"
#include "mitm/store/retention.h"
#include "mitm/tls/authority.h"

namespace mitm::cli {

enum class Family : std::uint8_t { both, ipv4, ipv6 };
enum class Format : std::uint8_t { text, jsonl };
/// What flows that have been stored are written as.
enum class FileFormat : std::uint8_t {
  text,
  jsonl,
  har,
  mitm,
  pcapng,
  curl,
  httpie,
  wget,
  fetch,
  python,
  raw,
  csv
};
enum class Colour : std::uint8_t { automatic, always, never };
enum class Ui : std::uint8_t { dump };

/// What `osproxy rules` writes for.
enum class PacketFilter : std::uint8_t { nft, darwin, freebsd, openbsd };
std::string_view to_string(PacketFilter filter);

struct Settings {
  std::string config;
  divert::ProgramFilter filter;
  std::vector<divert::Rule> rules;
  std::vector<nlohmann::json> message_rules;  ///< those of `rules` that change messages
  std::vector<std::string> modify_headers;    ///< mitmproxy's specs, as the next three
  std::vector<std::string> modify_body;
  std::vector<std::string> map_local;
  std::vector<std::string> block_list;
  bool anticache = false;
  bool anticomp = false;
  std::string stickycookie;  ///< a filter, as the next; empty: none
  std::string stickyauth;
  std::string dry_run;            ///< a session
  std::vector<std::string> pass;  ///< as base::host_matches wants them, as the next two
  std::vector<std::string> block;
  std::vector<std::string> only;
  bool wait_for = false;
  bool allow_untrusted = false;
  std::optional<std::vector<base::PortRange>> ports;  ///< none: each engine's own; empty: all
  std::vector<base::Network> exclude;
  Family family = Family::both;
  bool loopback = false;
  std::optional<std::uint32_t> group;        ///< none: a free one
  std::optional<std::uint16_t> listen_port;  ///< none: the usual one, or a free one
  divert::EngineChoice engine = divert::EngineChoice::best;
  std::uint32_t mark = 0x10000000;
  bool block_quic = true;
  std::optional<PacketFilter> dialect;  ///< none: this system's
  std::optional<std::uint32_t> exec_group;
  std::string into;
  std::string out_of;
  std::string mode;
  Ui ui = Ui::dump;
  Format format = Format::text;
  std::string output;  ///< path; empty: the terminal
  int detail = 1;
  Colour color = Colour::automatic;
  std::uint64_t bodies = 0;  ///< bytes of each body to record
  bool starts = false;       ///< JSON: a start event for each http flow
  std::string view;          ///< a filter of flows (mitm/query), which parses; empty: all are shown
  std::string pcap;
  std::string save;
  std::uint64_t save_bodies = kLargestSize;  ///< bytes of each body that a session stores
  store::Limits keep;
  FileFormat file_format = FileFormat::text;
  std::string sort;
  bool count = false;
  std::string fields;  ///< names, separated by commas; empty: whole flows
  bool with_secrets = false;
  format::MitmVersion mitm_version = format::MitmVersion::v21;
  bool list_fields = false;
  bool force = false;
  int tls_min = TLS1_2_VERSION;
  std::string tls_ciphers;  ///< OpenSSL's names; empty: the program's own
  std::vector<ClientCertPaths> client_certs;
  std::vector<ClientCertPaths> client_cert;
  std::string keylog;
  std::string upstream_ca;
  std::string upstream_ca_only;
  intercept::ErrorPage error_page = intercept::ErrorPage::browsers;
  std::string upstream_proxy;  ///< URL or "direct"; empty: direct
  bool insecure = false;
  std::chrono::seconds passthrough_ttl = std::chrono::minutes{10};  ///< 0: never
  unsigned passthrough_after = 3;
  std::optional<unsigned> threads;  ///< none: one per core
  std::string ca_dir = tls::kStateDirectory;
  std::string forget;
  bool wait = false;
  bool follow = false;

  [[nodiscard]] bool ipv4() const { return family != Family::ipv6; }
  [[nodiscard]] bool ipv6() const { return family != Family::ipv4; }
  [[nodiscard]] std::vector<base::PortRange> redirect_ports() const;
  /// Empty: all.
  [[nodiscard]] std::vector<base::PortRange> packet_ports() const;
  [[nodiscard]] unsigned worker_threads() const;
};

}  // namespace mitm::cli
