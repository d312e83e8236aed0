// A flow event as one flat record, which tests compare field by field; and back.
#pragma once

#include <optional>
#include <string>

#include "mitm/flow/event.h"

namespace test {

struct FlatMessage {
  bool from_server = false;
  mitm::http::Message what;
};

struct FlatDns {
  std::string name;
  std::string type;
  std::string rcode;
  std::vector<mitm::flow::DnsFlow::Answer> answers;
};

struct FlatFlow {
  enum class Event { start, end, message };
  enum class Type { http, tcp, tls_error, pass, block, dns, websocket, sse, grpc };

  Event event = Event::end;
  Type type = Type::tcp;
  std::uint64_t id = 0;
  std::uint64_t conn = 0;
  mitm::flow::Time time;
  mitm::flow::Offset duration;
  std::shared_ptr<const procmap::ProcessFacts> process;
  base::Endpoint client;
  base::Endpoint server;
  std::string host;
  std::string sni;
  std::shared_ptr<const mitm::flow::TlsFacts> tls;
  std::shared_ptr<const mitm::flow::TlsFacts> upstream_tls;
  std::string starttls;
  std::optional<FlatDns> dns;
  std::optional<FlatMessage> message;
  std::string method;
  std::string url;
  std::string target;
  std::string http_version;
  int status = 0;
  std::string status_text;
  std::vector<mitm::flow::InterimResponse> interim;
  mitm::http::Fields request_headers;
  mitm::http::Fields response_headers;
  mitm::http::Fields request_trailers;
  mitm::http::Fields response_trailers;
  std::string request_body;
  std::string response_body;
  bool request_body_cut = false;
  bool response_body_cut = false;
  std::string refused;
  std::shared_ptr<const mitm::flow::Edits> edits;
  std::optional<std::uint64_t> request_bytes;
  std::optional<std::uint64_t> response_bytes;
  mitm::flow::Offset request_ended;
  mitm::flow::Offset response_began;
  mitm::flow::Offset response_ended;
  mitm::flow::ConnectionTimes times;
  std::string decision;
  std::string reason;
  std::string error;
};

/// Empty: the event is of no flow.
std::optional<FlatFlow> flatten(const mitm::flow::Event& event);

/// What the engine would publish of it.
mitm::flow::Event to_event(const FlatFlow& flow);

}  // namespace test
