// What a client's first bytes say: TLS with which names, HTTP to which host, or neither. Pure, sans
// I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "mitm/sniff/client_hello.h"

namespace mitm::sniff {

enum class Protocol : std::uint8_t {
  undecided,  ///< a prefix of something: more bytes are needed
  tls,
  http1,
  http2,    ///< the prior-knowledge preface "PRI * HTTP/2.0"
  proxied,  ///< a PROXY protocol header (HAProxy's, version 1 or 2): what is spoken comes behind it
  raw,
};

/// `host` (empty lines before a request are skipped, RFC 9112 section 2.2) is the SNI or the host
/// of the request (absolute-form or CONNECT target, else the Host header), without its port, lower
/// case; empty if none (or not yet: see complete).
struct SniffResult {
  Protocol protocol = Protocol::undecided;
  /// The ClientHello or the HTTP head is there in full; with http2 and raw always true: nothing
  /// more to wait for.
  bool complete = false;
  /// Undecided, and only a method that is hardly used would make it HTTP ("ruok",
  /// "JDWP-Handshake"): not worth a long wait.
  bool doubtful = false;
  std::string host;
  std::size_t proxy_header = 0;  ///< bytes of the header, when protocol is proxied
  ClientHello hello;             ///< when protocol is tls and complete
};

/// `bytes`: all that the client has sent so far. Splits of the ClientHello over several records are
/// put together. A head or hello that is still not whole after kMaxSniffedBytes is taken as
/// complete with what it says.
///
/// With more bytes undecided may become anything, tls stays tls or (a hello that contradicts
/// itself) becomes raw; http1, http2, proxied and raw are final.
SniffResult inspect(std::string_view bytes);

/// "example.org:8080", "[::1]:80", "user@example.org": the host alone, lower case; empty when it is
/// none.
std::string host_of_authority(std::string_view text);

}  // namespace mitm::sniff
