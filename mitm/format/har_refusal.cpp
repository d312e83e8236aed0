#include "mitm/format/har_refusal.h"

#include <fmt/format.h>

#include "base/text.h"
#include "mitm/flow/event.h"
#include "mitm/format/har_facts.h"
#include "mitm/format/json_text.h"
#include "mitm/format/url_parts.h"

namespace mitm::format {
namespace {

using Kind = flow::TcpFlow::Kind;

constexpr std::int64_t kUnknown = -1;

void add_empty(JsonObject& object, std::string_view name) {
  object.token(name, "[]");
}

std::string url_of(const flow::TcpFlow& flow) {
  constexpr std::uint16_t kHttp = 80;
  const base::Endpoint& server = flow.connection->server;
  const std::string host =
      flow.host.empty() ? base::unmapped(server.address()).to_string() : flow.host;
  const bool plain = server.port() == kHttp && flow.kind != Kind::tls_error;
  return make_url(plain ? "http" : "https", url_host(host), server.port(), "/");
}

std::string error_of(const flow::TcpFlow& flow) {
  if (!flow.error.empty()) return flow.error;
  return fmt::format("blocked: {}", flow.connection->reason);
}

void add_request(JsonObject& entry, const flow::TcpFlow& flow) {
  JsonObject object(entry.name("request"));
  object.text("method", "CONNECT");
  object.text("url", url_of(flow));
  object.text("httpVersion", "unknown");
  for (const std::string_view list : {"cookies", "headers", "queryString"}) add_empty(object, list);
  object.integer("headersSize", kUnknown);
  object.integer("bodySize", std::int64_t{0});
  object.end();
}

void add_response(JsonObject& entry, const flow::TcpFlow& flow) {
  JsonObject object(entry.name("response"));
  object.integer("status", std::int64_t{0});
  object.text("statusText", "");
  object.text("httpVersion", "unknown");
  for (const std::string_view list : {"cookies", "headers"}) add_empty(object, list);
  JsonObject content(object.name("content"));
  content.integer("size", std::int64_t{0});
  content.text("mimeType", "x-unknown");
  content.end();
  object.text("redirectURL", "");
  for (const std::string_view size : {"headersSize", "bodySize"}) object.integer(size, kUnknown);
  object.integer("_transferSize", std::int64_t{0});
  object.text("_error", error_of(flow));
  object.end();
}

void add_timings(JsonObject& entry, std::chrono::microseconds lasted) {
  JsonObject object(entry.name("timings"));
  append_millis(object.name("blocked"), lasted);
  for (const std::string_view phase : {"dns", "connect", "ssl"}) object.integer(phase, kUnknown);
  for (const std::string_view phase : {"send", "wait", "receive"})
    object.integer(phase, std::int64_t{0});
  object.end();
}

}  // namespace

bool is_refusal(const flow::TcpFlow& flow) {
  if (flow.kind == Kind::block) return !flow.connection->reason.starts_with("QUIC is refused");
  if (flow.kind == Kind::tls_error) return true;
  const std::uint64_t said = flow.request_bytes.value_or(0) + flow.response_bytes.value_or(0);
  return !flow.error.empty() && said == 0;
}

void append_har_refusal(std::string& out, const flow::TcpFlow& flow, std::string_view page,
                        bool with_secrets) {
  const flow::ConnectionRecord& connection = *flow.connection;
  const auto lasted = flow.duration.value_or(std::chrono::microseconds{0});
  JsonObject entry(out);
  entry.text("pageref", page);
  entry.text("startedDateTime", base::rfc3339(flow.began));
  append_millis(entry.name("time"), lasted);
  add_request(entry, flow);
  add_response(entry, flow);
  JsonObject(entry.name("cache")).end();
  add_timings(entry, lasted);
  const base::Address address = base::unmapped(connection.server.address());
  if (!address.is_unspecified()) entry.text("serverIPAddress", address.to_string());
  entry.text("connection", fmt::format("{}", connection.id));
  entry.text("_resourceType", "other");
  add_har_connection(entry, connection, with_secrets);
  JsonObject ours(entry.name("_osproxy"));
  ours.text("type", to_string(flow.kind));
  ours.integer("id", static_cast<std::int64_t>(flow.id));
  ours.integer("conn", static_cast<std::int64_t>(connection.id));
  ours.text("decision", connection.decision);
  ours.text("reason", connection.reason);
  ours.end();
  entry.end();
}

}  // namespace mitm::format
