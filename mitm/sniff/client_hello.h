// The first message of TLS, as far as it decides how it is answered. Pure, sans I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mitm::sniff {

/// What is read of a client at most; a longer hello is taken as complete with what is there.
inline constexpr std::size_t kMaxSniffedBytes = 64 << 10;

/// The fields of a ClientHello (RFC 8446 section 4.1.2) that decide how it is answered.
struct ClientHello {
  std::string
      sni;  ///< host_name of server_name, lower case, without trailing dot; empty when absent
  std::vector<std::string> alpn;  ///< in the client's order
  std::vector<std::uint16_t> ciphers;
  std::vector<std::uint16_t> signature_algorithms;
  std::vector<std::uint16_t> groups;
  std::uint16_t max_version = 0;  ///< highest of supported_versions, else legacy_version
  std::uint16_t min_version = 0;  ///< lowest of supported_versions; 0: the client does not say
  /// encrypted_client_hello (RFC 9849) is there: real, or the imitation that browsers always send
  /// (GREASE). Only the server that holds the key can tell the two apart.
  bool encrypted_client_hello = false;
  /// Its ancestor (encrypted_server_name), which is never imitated: there is no name but the
  /// encrypted one.
  bool encrypted_server_name = false;
  /// A pre-shared key is offered: by a cipher suite, or (TLS 1.3) by its extension, which a session
  /// that is resumed has as well.
  bool psk = false;
  bool psk_only = false;  ///< and no certificate will do
  bool grease = false;    ///< values that mean nothing are among the ciphers (RFC 8701)
  bool cut = false;       ///< longer than kMaxSniffedBytes: only its beginning has been read
};

enum class HelloState : std::uint8_t {
  none,       ///< something else than a ClientHello
  undecided,  ///< a record of the handshake begins, its message does not yet
  partial,
  complete,
};

/// True if `bytes` may begin with a handshake record of SSL 3.0 to TLS 1.3 (RFC 8446 section 5.1),
/// as far as they go. `bytes` is not empty.
[[nodiscard]] bool may_be_tls_record(std::string_view bytes);

/// Reads the ClientHello that `bytes` (see may_be_tls_record()) begin with, also when it is split
/// over several records. `hello` is written when it is complete, or `bytes` have reached
/// kMaxSniffedBytes.
[[nodiscard]] HelloState read_client_hello(std::string_view bytes, ClientHello& hello);

/// A DNS name in lower case and without its trailing dot; empty when `text` is not one.
[[nodiscard]] std::string dns_name(std::string_view text);

}  // namespace mitm::sniff
