// What is known of connections and of what they carried. Strings are bytes from the network: what
// shows them makes them safe to show. conf/flow.schema.json describes the JSON form.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/network.h"
#include "mitm/flow/body.h"
#include "mitm/http/fields.h"
#include "mitm/http/message.h"
#include "procmap/process.h"

namespace mitm::flow {

using Time = std::chrono::system_clock::time_point;
/// Since the beginning of what it belongs to; empty: it has not happened, or was not seen.
using Offset = std::optional<std::chrono::microseconds>;

enum class Direction : std::uint8_t { request, response };
[[nodiscard]] constexpr Direction opposite(Direction direction) {
  return direction == Direction::request ? Direction::response : Direction::request;
}

/// Of one certificate, in text that is safe to show, and as it is.
struct CertificateFacts {
  std::string subject;             ///< "CN = one.test, O = Example"; empty: none
  std::string issuer;              ///< likewise
  std::vector<std::string> names;  ///< subjectAltName: DNS names and addresses
  std::chrono::system_clock::time_point not_before;
  std::chrono::system_clock::time_point not_after;
  std::string sha256;  ///< of the DER form: "AB:CD:..."
  std::string der{};   ///< empty: not known
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

/// When a connection got ready, since ConnectionRecord::opened.
struct ConnectionTimes {
  Offset connect_began;      ///< to the server, or the proxy in front of it
  Offset connected;          ///< likewise
  Offset upstream_tls_done;  ///< handshake with the server
  Offset tls_done;           ///< handshake with the program
};

/// One connection of a program, as far as it is known. Immutable once an event refers to it; a
/// later event may refer to one that knows more.
struct ConnectionRecord {
  std::uint64_t id = 0;                                  ///< unique within a run
  Time opened;                                           ///< see divert::Connection
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
  std::string decision;  ///< "intercept", "pass", "block"
  std::string reason;    ///< why that decision
  ConnectionTimes times;
};

/// What every flow has.
struct FlowFacts {
  std::uint64_t id = 0;  ///< unique within a run; all events of a flow have it
  std::shared_ptr<const ConnectionRecord> connection;  ///< that carried it
  Time began;
  Offset duration;    ///< of ended flows
  std::string error;  ///< empty: none
};

struct Request {
  std::string method;
  std::string scheme;
  std::string authority;  ///< Host, or :authority; empty: the request names none
  std::string target;     ///< as it stood in the request line; HTTP/2: :path
  std::string version;    ///< "1.0", "1.1", "2"
  http::Fields fields;    ///< HTTP/2: without pseudo-header fields
  http::Fields trailers;  ///< behind the body (HTTP/2, chunked HTTP/1)
  Body body;
  std::optional<std::uint64_t> body_bytes;  ///< on the wire; empty: not counted
  Offset ended;                             ///< its last byte, since HttpFlow::began
};

/// A response that another one to the same request followed (100, 103 ...).
struct InterimResponse {
  int status = 0;
  http::Fields fields;
  Offset at;  ///< since HttpFlow::began
};

struct Response {
  int status = 0;      ///< 0: none was seen, or it was not HTTP
  std::string reason;  ///< HTTP/1: the words behind the status
  http::Fields fields;
  http::Fields trailers;
  std::vector<InterimResponse> interim;  ///< in their order, those before it
  Body body;
  std::optional<std::uint64_t> body_bytes;  ///< on the wire; empty: not counted
  Offset began;                             ///< its first byte, since HttpFlow::began
  Offset ended;                             ///< its last byte
};

/// What was passed on in place of what came.
struct Edits {
  std::optional<Request> request;    ///< that the server got; empty: as the program sent it
  std::optional<Response> response;  ///< that the program got; empty: as HttpFlow has it
  bool answered = false;             ///< the response is not a server's: the server got no request
  std::vector<std::string> by;       ///< names of rules, "held"
};

/// One request and what was answered.
struct HttpFlow : FlowFacts {
  /// That of its connection, or, outside TLS, the request's own: a connection to a proxy carries
  /// requests for many hosts.
  std::string host;
  std::string url;  ///< absolute
  Request request;
  Response response;
  /// The beginning of a message that was malformed and not passed on; empty: none was.
  std::string refused;
  std::shared_ptr<const Edits> edits{};  ///< null: it passed as it came
};

/// A connection that carried no HTTP, was not intercepted, or failed before it could carry
/// anything.
struct TcpFlow : FlowFacts {
  enum class Kind : std::uint8_t { tcp, tls_error, pass, block };
  Kind kind = Kind::tcp;
  std::string host;
  std::optional<std::uint64_t> request_bytes;   ///< that the program sent; empty: not counted
  std::optional<std::uint64_t> response_bytes;  ///< that the server sent
  std::string starttls;  ///< "smtp", ...: the protocol that agreed to go on in TLS; empty: none did
};

/// One question to a name server, and its answer.
struct DnsFlow : FlowFacts {
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
  std::optional<std::uint64_t> request_bytes;
  std::optional<std::uint64_t> response_bytes;
};

/// One of the messages that an http flow carries, or what one side of a raw connection said at
/// once.
struct StreamMessage {
  enum class Kind : std::uint8_t {
    websocket,
    sse,
    grpc,
    tcp,  ///< http::Message::Kind::binary; in files and filters only
  };
  Kind kind = Kind::websocket;
  std::uint64_t flow = 0;  ///< id of the HttpFlow or TcpFlow
  std::shared_ptr<const ConnectionRecord> connection;
  Time time;  ///< when its last byte came
  std::string host;
  std::string url;
  Direction direction = Direction::request;
  http::Message what;
};

}  // namespace mitm::flow
