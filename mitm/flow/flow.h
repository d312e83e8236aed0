// What osproxy reports: one record per event of a flow. conf/flow.schema.json describes its JSON
// form.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/network.h"
#include "mitm/http/fields.h"
#include "mitm/http/message.h"
#include "procmap/process.h"

namespace mitm::flow {

enum class Event : std::uint8_t { start, end, message };
enum class Type : std::uint8_t { http, tcp, tls_error, pass, block, dns, websocket, sse, grpc };
std::string_view to_string(Event event);
std::string_view to_string(Type type);

/// Of one certificate, in text that is safe to show.
struct CertificateFacts {
  std::string subject;             ///< "CN = one.test, O = Example"; empty: none
  std::string issuer;              ///< likewise
  std::vector<std::string> names;  ///< subjectAltName: DNS names and addresses
  std::chrono::system_clock::time_point not_before;
  std::chrono::system_clock::time_point not_after;
  std::string sha256;  ///< of the DER form: "AB:CD:..."
};
/// As a server has sent it: its own first.
using CertificateChain = std::vector<CertificateFacts>;

struct TlsFacts {
  std::string version;  ///< "TLSv1.3"
  std::string cipher;   ///< OpenSSL's name
  std::string alpn;     ///< empty: none was agreed on
  /// Upstream only: what the server was shown when it asked for a client certificate: its path, or
  /// "none"; empty: it did not ask (nor does it when a session is resumed).
  std::string client_certificate{};
  /// The server's; null: none was seen.
  std::shared_ptr<const CertificateChain> certificates{};
};

struct DnsFacts {
  struct Answer {
    std::string name;
    std::string type;
    std::uint32_t ttl = 0;  ///< seconds
    std::string data;
  };

  std::string name;  ///< that was asked for
  std::string type;
  std::string rcode;  ///< empty: no answer was seen
  std::vector<Answer> answers;
};

/// One of many that an http flow carries.
struct MessageFacts {
  bool from_server = false;
  http::Message what;
};

/// Immutable once published. Strings are bytes from the network: sinks make them safe to show.
struct Flow {
  Event event = Event::end;
  Type type = Type::tcp;
  std::uint64_t id = 0;    ///< of the flow, unique within a run; start and end share it
  std::uint64_t conn = 0;  ///< of the connection that carried it
  std::chrono::system_clock::time_point time;         ///< when the flow began
  std::optional<std::chrono::microseconds> duration;  ///< only of ended flows

  std::shared_ptr<const procmap::ProcessFacts> process;  ///< null: unknown
  base::Endpoint client;
  base::Endpoint server;
  /// SNI, the target of the CONNECT around it, or Host, without port; else a name learned from DNS;
  /// empty: unknown.
  std::string host;
  std::string sni;
  std::shared_ptr<const TlsFacts> tls;  ///< between the program and us; null: none was agreed on
  /// Between us and the server; when that has failed, what was known by then.
  /// Null: the server has not answered in TLS.
  std::shared_ptr<const TlsFacts> upstream_tls;
  std::string starttls;  ///< "smtp", ...: the protocol that agreed to go on in TLS; empty: none did
  std::optional<DnsFacts> dns;  ///< of type dns
  /// Of event message, whose type is websocket, sse or grpc and whose id is the http flow's;
  /// `time`: when its last byte came.
  std::optional<MessageFacts> message;

  std::string method;
  std::string url;           ///< absolute
  std::string http_version;  ///< "1.0", "1.1", "2"
  int status = 0;            ///< 0: no response was seen
  http::Fields request_headers;
  http::Fields response_headers;
  http::Fields request_trailers;  ///< behind the body (HTTP/2, chunked HTTP/1)
  http::Fields response_trailers;
  std::string request_body;  ///< at most BodyLimit bytes, as on the wire (content coding kept,
                             ///< chunk framing removed)
  std::string response_body;
  bool request_body_cut = false;  ///< there was more than the limit
  bool response_body_cut = false;
  std::string refused;  ///< the beginning of a message that was malformed and not passed on; empty:
                        ///< none was
  std::optional<std::uint64_t>
      request_bytes;  ///< http: body bytes; else bytes the program sent; empty: not counted
  std::optional<std::uint64_t> response_bytes;

  std::string decision;  ///< "intercept", "pass", "block"
  std::string reason;    ///< why that decision
  std::string error;     ///< empty: none
};

/// Bytes that `flow` occupies in a queue, roughly.
std::size_t weight(const Flow& flow);

}  // namespace mitm::flow
