// The JSON form of a flow. Its description, key by key, is conf/flow.schema.json: a change here is
// a change there. Every key of a type is always present; what is not known is null.
#include "mitm/format/json_renderer.h"

#include <fmt/format.h>

#include "base/text.h"
#include "mitm/format/json_text.h"
#include "mitm/format/sinks.h"

namespace mitm::format {
namespace {

void append_padded(std::string& out, std::uint64_t value, std::size_t width) {
  const fmt::format_int digits(value);
  out.append(width - std::min(width, digits.size()), '0').append(digits.data(), digits.size());
}

/// base::to_string without its temporaries for the common family.
void append_endpoint(std::string& out, const base::Endpoint& endpoint) {
  out += '"';
  if (const base::Address address = base::unmapped(endpoint.address()); address.is_v4()) {
    char separator = '.';
    for (const unsigned char byte : address.to_v4().to_bytes()) {
      append_padded(out, byte, 1);
      out += separator;
    }
    out.back() = ':';
    append_padded(out, endpoint.port(), 1);
  } else {
    out += base::to_string(endpoint);
  }
  out += '"';
}

void append_fields(std::string& out, const http::Fields& fields) {
  out += '[';
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    out += i == 0 ? "[" : ",[";
    append_json_string(out, name);
    out += ',';
    append_json_string(out, value);
    out += ']';
  }
  out += ']';
}

/// Milliseconds with the microseconds as fraction.
void append_duration(std::string& out, const std::optional<std::chrono::microseconds>& duration) {
  if (!duration) {
    out += "null";
    return;
  }
  const auto micros = static_cast<std::uint64_t>(std::max<std::int64_t>(duration->count(), 0));
  append_padded(out, micros / 1000, 1);
  out += '.';
  append_padded(out, micros % 1000, 3);
}

/// `client_certificate`: that the server was shown. `chain`: JSON, of the server only; null: not
/// its side.
void append_tls(std::string& out, const flow::TlsFacts* tls, std::string_view client_certificate,
                const std::string* chain) {
  if (!tls) {
    out += "null";
    return;
  }
  JsonObject object(out);
  object.text_or_null("version", tls->version);
  object.text_or_null("cipher", tls->cipher);
  object.text_or_null("alpn", tls->alpn);
  object.text_or_null("client_certificate", client_certificate);
  if (chain != nullptr) object.token("certificates", *chain);
  object.end();
}

void add_dns(JsonObject& object, const flow::DnsFlow& dns) {
  {
    JsonObject question(object.name("question"));
    question.text_or_null("name", dns.name);
    question.text("type", dns.type);
    question.end();
  }
  object.text_or_null("rcode", dns.rcode);
  std::string& out = object.name("answers").append("[");
  for (const auto& record : dns.answers) {
    if (out.back() != '[') out += ',';
    JsonObject answer(out);
    answer.text_or_null("name", record.name);
    answer.text("type", record.type);
    answer.integer("ttl", std::int64_t{record.ttl});
    answer.text("data", record.data);
    answer.end();
  }
  out += ']';
}

/// Milliseconds of what is known.
void add_offset(JsonObject& times, const char* name, const flow::Offset& offset) {
  if (offset) append_duration(times.name(name), offset);
}

void add_times(JsonObject& object, const flow::ConnectionTimes& connection,
               const flow::HttpFlow* http) {
  const bool any = connection.connect_began || connection.upstream_tls_done ||
                   connection.tls_done ||
                   (http && (http->request.ended || http->response.began || http->response.ended));
  if (!any) return;
  JsonObject times(object.name("times"));
  add_offset(times, "connect_start_ms", connection.connect_began);
  add_offset(times, "connected_ms", connection.connected);
  add_offset(times, "upstream_tls_ms", connection.upstream_tls_done);
  add_offset(times, "tls_ms", connection.tls_done);
  if (http) {
    add_offset(times, "request_end_ms", http->request.ended);
    add_offset(times, "response_start_ms", http->response.began);
    add_offset(times, "response_end_ms", http->response.ended);
  }
  times.end();
}

void add_interim(JsonObject& object, const std::vector<flow::InterimResponse>& interim) {
  std::string& out = object.name("interim").append("[");
  for (const auto& response : interim) {
    if (out.back() != '[') out += ',';
    JsonObject one(out);
    one.integer("status", response.status);
    append_fields(one.name("headers"), response.fields);
    append_duration(one.name("at_ms"), response.at);
    one.end();
  }
  out += ']';
}

void add_body(JsonObject& object, const flow::Body& body, const char* name, const char* cut) {
  std::string scratch;
  append_json_base64(object.name(name), body.bytes(scratch));
  object.boolean(cut, body.is_cut());
}

/// What was passed on instead. Its bodies are named as those of the flow are.
void add_edits(JsonObject& object, const flow::Edits& edits, bool bodies) {
  JsonObject all(object.name("edits"));
  std::string& by = all.name("by").append("[");
  for (const std::string& name : edits.by) {
    if (by.back() != '[') by += ',';
    append_json_string(by, name);
  }
  by += ']';
  if (edits.answered) all.boolean("answered", true);
  if (edits.request) {
    JsonObject request(all.name("request"));
    request.text("method", edits.request->method);
    request.text("target", edits.request->target);
    append_fields(request.name("headers"), edits.request->fields);
    if (bodies) add_body(request, edits.request->body, "body", "body_cut");
    request.end();
  }
  if (edits.response) {
    JsonObject response(all.name("response"));
    response.integer("status", std::int64_t{edits.response->status});
    append_fields(response.name("headers"), edits.response->fields);
    if (bodies) add_body(response, edits.response->body, "body", "body_cut");
    response.end();
  }
  all.end();
}

void add_http(JsonObject& object, const flow::HttpFlow& flow, bool bodies) {
  const auto& [request, response] = std::tie(flow.request, flow.response);
  object.text_or_null("method", request.method);
  object.text_or_null("url", flow.url);
  object.text_or_null("http_version", request.version);
  response.status == 0 ? object.token("status", "null") : object.integer("status", response.status);
  if (!response.reason.empty()) object.text("status_text", response.reason);
  if (!response.interim.empty()) add_interim(object, response.interim);
  append_fields(object.name("request_headers"), request.fields);
  append_fields(object.name("response_headers"), response.fields);
  if (!request.trailers.empty()) append_fields(object.name("request_trailers"), request.trailers);
  if (!response.trailers.empty())
    append_fields(object.name("response_trailers"), response.trailers);
  if (!flow.refused.empty()) append_json_base64(object.name("refused"), flow.refused);
  if (flow.edits) add_edits(object, *flow.edits, bodies);
  if (!bodies) return;
  add_body(object, request.body, "request_body", "request_body_cut");
  add_body(object, response.body, "response_body", "response_body_cut");
}

/// Payloads as bodies: base64, and only with them.
void add_message(JsonObject& object, const flow::StreamMessage& said, bool bodies) {
  using Kind = http::Message::Kind;
  const http::Message& what = said.what;
  JsonObject message(object.name("message"));
  message.text("from", said.direction == flow::Direction::response ? "server" : "client");
  message.text("kind", to_string(what.kind));
  message.integer("bytes", what.bytes);
  message.integer("wire_bytes", what.wire_bytes);
  message.boolean("compressed", what.compressed);
  if (what.kind == Kind::close) {
    what.code == 0 ? message.token("code", "null")
                   : message.integer("code", std::int64_t{what.code});
    message.text("reason", what.reason);
  } else if (what.kind == Kind::event) {
    message.text_or_null("name", what.name);
    message.text_or_null("id", what.id);
  }
  if (bodies) {
    append_json_base64(message.name("payload"), what.payload);
    message.boolean("payload_cut", what.cut);
  }
  message.end();
}

}  // namespace

void TimeText::append(std::string& out, std::chrono::system_clock::time_point time) {
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  if (second != second_) {
    text_ = base::rfc3339(second);
    text_.resize(text_.size() - std::string_view("000000Z").size());
    second_ = second;
  }
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - second);
  out += text_;
  append_padded(out, static_cast<std::uint64_t>(micros.count()), 6);
  out += 'Z';
}

const std::string& JsonRenderer::process(
    const std::shared_ptr<const procmap::ProcessFacts>& facts) {
  if (!last_process_json_.empty() && facts == last_process_) return last_process_json_;
  last_process_ = facts;
  last_process_json_.clear();
  if (!facts) return last_process_json_ = "null";
  JsonObject object(last_process_json_);
  object.integer("pid", facts->id.pid);
  object.integer("ppid", facts->ppid);
  object.text("name", facts->name);
  object.text_or_null("exe", facts->exe);
  std::string& argv = object.name("argv").append("[");
  for (const std::string& argument : facts->argv) {
    if (argv.back() != '[') argv += ',';
    append_json_string(argv, argument);
  }
  argv += ']';
  object.text("user", facts->user);
  object.text("start_time", base::rfc3339(facts->start_time));
  object.end();
  return last_process_json_;
}

const std::string& JsonRenderer::certificates(
    const std::shared_ptr<const flow::CertificateChain>& chain) {
  if (!last_chain_json_.empty() && chain == last_chain_) return last_chain_json_;
  last_chain_ = chain;
  last_chain_json_.clear();
  if (!chain) return last_chain_json_ = "null";
  last_chain_json_ = "[";
  for (const auto& facts : *chain) {
    if (last_chain_json_.back() != '[') last_chain_json_ += ',';
    JsonObject certificate(last_chain_json_);
    certificate.text_or_null("subject", facts.subject);
    certificate.text_or_null("issuer", facts.issuer);
    std::string& names = certificate.name("names").append("[");
    for (const std::string& name : facts.names) {
      if (names.back() != '[') names += ',';
      append_json_string(names, name);
    }
    names += ']';
    certificate.text("not_before", base::rfc3339(facts.not_before));
    certificate.text("not_after", base::rfc3339(facts.not_after));
    certificate.text("sha256", facts.sha256);
    certificate.end();
  }
  return last_chain_json_ += ']';
}

/// The keys before those that a type has of its own.
struct JsonRenderer::Head {
  std::string_view event;
  std::string_view type;
  std::uint64_t id = 0;
  flow::Time time;
  const flow::ConnectionRecord& connection;
  std::string_view host;
};

/// The keys after them.
struct JsonRenderer::Tail {
  const flow::ConnectionRecord& connection;
  std::optional<std::uint64_t> request_bytes{};
  std::optional<std::uint64_t> response_bytes{};
  flow::Offset duration{};
  const std::string* starttls = nullptr;  ///< null: the type has none
  std::string_view error{};
  const flow::HttpFlow* http = nullptr;  ///< whose times are written
  bool has_times = false;                ///< those of the connection are
};

void JsonRenderer::add_head(JsonObject& object, const Head& head) {
  object.integer("v", std::int64_t{1});
  object.text("event", head.event);
  object.text("type", head.type);
  object.integer("id", head.id);
  object.integer("conn", head.connection.id);
  std::string& out = object.name("time").append("\"");
  time_.append(out, head.time);
  out += '"';
  object.token("process", process(head.connection.process));
  append_endpoint(object.name("client"), head.connection.client);
  append_endpoint(object.name("server"), head.connection.server);
  object.text_or_null("host", head.host);
  object.text_or_null("sni", head.connection.sni);
}

void JsonRenderer::add_tail(JsonObject& object, const Tail& tail) {
  object.integer("request_bytes", tail.request_bytes);
  object.integer("response_bytes", tail.response_bytes);
  append_duration(object.name("duration_ms"), tail.duration);
  if (tail.has_times) add_times(object, tail.connection.times, tail.http);
  // In tls as well, where version 1 has had it from the beginning.
  const auto* const upstream = tail.connection.upstream_tls.get();
  const std::string_view certificate =
      upstream ? std::string_view(upstream->client_certificate) : std::string_view();
  append_tls(object.name("tls"), tail.connection.tls.get(), certificate, nullptr);
  const std::string& chain = certificates(upstream ? upstream->certificates : nullptr);
  append_tls(object.name("upstream_tls"), upstream, certificate, &chain);
  if (tail.starttls) object.text_or_null("starttls", *tail.starttls);
  object.text_or_null("decision", tail.connection.decision);
  object.text_or_null("reason", tail.connection.reason);
  object.text_or_null("error", tail.error);
}

void JsonRenderer::render(const flow::HttpFlow& flow, bool ended, bool bodies, std::string& out) {
  JsonObject object(out);
  add_head(object,
           {ended ? "end" : "start", "http", flow.id, flow.began, *flow.connection, flow.host});
  add_http(object, flow, bodies);
  Tail tail{*flow.connection};
  if (ended) {
    tail.request_bytes = flow.request.body_bytes;
    tail.response_bytes = flow.response.body_bytes;
    tail.duration = flow.duration;
    tail.http = &flow;
    tail.has_times = true;
  }
  tail.error = flow.error;
  add_tail(object, tail);
  object.end();
}

void JsonRenderer::render(const flow::TcpFlow& flow, bool ended, std::string& out) {
  JsonObject object(out);
  add_head(object, {ended ? "end" : "start", to_string(flow.kind), flow.id, flow.began,
                    *flow.connection, flow.host});
  Tail tail{*flow.connection};
  if (ended) {
    tail.request_bytes = flow.request_bytes;
    tail.response_bytes = flow.response_bytes;
    tail.duration = flow.duration;
    tail.has_times = true;
  }
  tail.starttls = &flow.starttls;
  tail.error = flow.error;
  add_tail(object, tail);
  object.end();
}

void JsonRenderer::render(const flow::DnsFlow& flow, std::string& out) {
  JsonObject object(out);
  add_head(object, {"end", "dns", flow.id, flow.began, *flow.connection, {}});
  add_dns(object, flow);
  Tail tail{*flow.connection, flow.request_bytes, flow.response_bytes, flow.duration};
  tail.error = flow.error;
  add_tail(object, tail);
  object.end();
}

void JsonRenderer::render(const flow::StreamMessage& message, bool bodies, std::string& out) {
  JsonObject object(out);
  add_head(object, {"message", to_string(message.kind), message.flow, message.time,
                    *message.connection, message.host});
  object.text_or_null("url", message.url);
  add_message(object, message, bodies);
  add_tail(object, {*message.connection});
  object.end();
}

void JsonRenderer::render(const flow::Event& event, bool bodies, std::string& out) {
  std::visit(
      [&]<class Kind>(const Kind& it) {
        if constexpr (std::is_same_v<Kind, flow::HttpUnderWay> ||
                      std::is_same_v<Kind, flow::RequestHead>) {
          render(*it.flow, false, bodies, out);
        } else if constexpr (std::is_same_v<Kind, flow::HttpEnd>) {
          render(*it.flow, true, bodies, out);
        } else if constexpr (std::is_same_v<Kind, flow::TcpBegin>) {
          render(*it.flow, false, out);
        } else if constexpr (std::is_same_v<Kind, flow::TcpEnd>) {
          render(*it.flow, true, out);
        } else if constexpr (std::is_same_v<Kind, flow::DnsEnd>) {
          render(*it.flow, out);
        } else if constexpr (std::is_same_v<Kind, flow::Message>) {
          render(*it.message, bodies, out);
        }
      },
      event);
}

void render_json(const flow::Event& event, bool bodies, std::string& out) {
  JsonRenderer().render(event, bodies, out);
}

}  // namespace mitm::format
