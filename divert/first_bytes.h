// What a client's first bytes say: TLS with which names, HTTP to which host, or neither. Pure, sans
// I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace divert {

enum class Protocol : std::uint8_t {
  undecided,  ///< a prefix of something: more bytes are needed
  tls,
  http1,
  http2,    ///< the prior-knowledge preface "PRI * HTTP/2.0"
  proxied,  ///< a PROXY protocol header (HAProxy's, version 1 or 2): what is spoken comes behind it
  raw,
};

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
  /// (GREASE). Nobody but the server that holds the key can tell the two apart.
  bool encrypted_client_hello = false;
  /// Its ancestor (encrypted_server_name), which nobody imitates: there is no name but the
  /// encrypted one.
  bool encrypted_server_name = false;
  /// A pre-shared key is offered: by a cipher suite, or (TLS 1.3) by its extension, which a session
  /// that is resumed has as well.
  bool psk = false;
  bool psk_only = false;  ///< and no certificate will do
  bool grease = false;    ///< values that mean nothing are among the ciphers (RFC 8701)
  bool cut = false;       ///< longer than kMaxFirstBytes: only its beginning has been read
};

/// `host` (empty lines before a request are skipped, RFC 9112 section 2.2) is the SNI or the host
/// of the request (absolute-form or CONNECT target, else the Host header), without its port, lower
/// case; empty when there is none (or not yet: see complete).
struct FirstBytes {
  Protocol protocol = Protocol::undecided;
  /// The ClientHello or the HTTP head is there in full; with http2 and raw always true: nothing
  /// more to wait for.
  bool complete = false;
  /// Undecided, and only a method that hardly anybody uses would make it HTTP ("ruok",
  /// "JDWP-Handshake"): not worth a long wait.
  bool doubtful = false;
  std::string host;
  std::size_t proxy_header = 0;  ///< bytes of the header, when protocol is proxied
  ClientHello hello;             ///< when protocol is tls and complete
};

/// `bytes`: all that the client has sent so far. Splits of the ClientHello over several records are
/// put together. A head or hello that is still not whole after kMaxFirstBytes is taken as complete
/// with what it says.
///
/// With more bytes undecided may become anything, tls stays tls or (a hello that contradicts
/// itself) becomes raw; http1, http2, proxied and raw are final.
inline constexpr std::size_t kMaxFirstBytes = 64 << 10;
FirstBytes inspect(std::string_view bytes);

/// "example.org:8080", "[::1]:80", "user@example.org": the host alone, lower case; empty when it is
/// none.
std::string host_of_authority(std::string_view text);

}  // namespace divert
