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

void add_dns(JsonObject& object, const flow::DnsFacts& dns) {
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

void add_http(JsonObject& object, const flow::Flow& flow, bool bodies) {
  object.text_or_null("method", flow.method);
  object.text_or_null("url", flow.url);
  object.text_or_null("http_version", flow.http_version);
  flow.status == 0 ? object.token("status", "null") : object.integer("status", flow.status);
  append_fields(object.name("request_headers"), flow.request_headers);
  append_fields(object.name("response_headers"), flow.response_headers);
  if (!flow.request_trailers.empty())
    append_fields(object.name("request_trailers"), flow.request_trailers);
  if (!flow.response_trailers.empty())
    append_fields(object.name("response_trailers"), flow.response_trailers);
  if (!flow.refused.empty()) append_json_base64(object.name("refused"), flow.refused);
  if (!bodies) return;
  append_json_base64(object.name("request_body"), flow.request_body);
  object.boolean("request_body_cut", flow.request_body_cut);
  append_json_base64(object.name("response_body"), flow.response_body);
  object.boolean("response_body_cut", flow.response_body_cut);
}

/// Payloads as bodies: base64, and only with them.
void add_message(JsonObject& object, const flow::MessageFacts& facts, bool bodies) {
  using Kind = http::Message::Kind;
  const http::Message& what = facts.what;
  JsonObject message(object.name("message"));
  message.text("from", facts.from_server ? "server" : "client");
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

void JsonRenderer::render(const flow::Flow& flow, bool bodies, std::string& out) {
  JsonObject object(out);
  object.integer("v", std::int64_t{1});
  object.text("event", to_string(flow.event));
  object.text("type", to_string(flow.type));
  object.integer("id", flow.id);
  object.integer("conn", flow.conn);
  time_.append(object.name("time").append("\""), flow.time);
  out += '"';
  object.token("process", process(flow.process));
  append_endpoint(object.name("client"), flow.client);
  append_endpoint(object.name("server"), flow.server);
  object.text_or_null("host", flow.host);
  object.text_or_null("sni", flow.sni);
  if (flow.type == flow::Type::http) add_http(object, flow, bodies);
  if (flow.dns) add_dns(object, *flow.dns);
  if (flow.message) {
    object.text_or_null("url", flow.url);
    add_message(object, *flow.message, bodies);
  }
  object.integer("request_bytes", flow.request_bytes);
  object.integer("response_bytes", flow.response_bytes);
  append_duration(object.name("duration_ms"),
                  flow.event == flow::Event::end ? flow.duration : std::nullopt);
  // In tls as well, where version 1 has had it from the beginning.
  const auto* const upstream = flow.upstream_tls.get();
  const std::string_view certificate =
      upstream ? std::string_view(upstream->client_certificate) : std::string_view();
  append_tls(object.name("tls"), flow.tls.get(), certificate, nullptr);
  const std::string& chain = certificates(upstream ? upstream->certificates : nullptr);
  append_tls(object.name("upstream_tls"), upstream, certificate, &chain);
  if (flow.type != flow::Type::http && !flow.dns && !flow.message)
    object.text_or_null("starttls", flow.starttls);
  object.text_or_null("decision", flow.decision);
  object.text_or_null("reason", flow.reason);
  object.text_or_null("error", flow.error);
  object.end();
}

void render_json(const flow::Flow& flow, bool bodies, std::string& out) {
  JsonRenderer().render(flow, bodies, out);
}

}  // namespace mitm::format
