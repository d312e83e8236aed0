#include "mitm/format/har_facts.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "mitm/flow/event.h"
#include "mitm/format/shell_words.h"

namespace mitm::format {
namespace {

using Kind = flow::StreamMessage::Kind;

void add_text(JsonObject& object, std::string_view name, std::string_view text) {
  if (!text.empty()) object.text(name, text);
}

void add_time(JsonObject& object, std::string_view name, flow::Time time) {
  object.text(name, base::rfc3339(time));
}

/// Chrome's: seconds since the epoch.
void add_seconds(JsonObject& object, std::string_view name, flow::Time time) {
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  fmt::format_to(std::back_inserter(object.name(name)), "{}.{:06}", micros / 1'000'000,
                 std::abs(micros % 1'000'000));
}

void add_process(JsonObject& entry, const procmap::ProcessFacts* process, bool with_secrets) {
  if (process == nullptr) return;
  JsonObject object(entry.name("_process"));
  object.integer("pid", std::int64_t{process->id.pid});
  object.integer("ppid", std::int64_t{process->ppid});
  object.text("name", process->name);
  add_text(object, "path", process->exe);
  add_text(object, "user", process->user);
  object.integer("uid", std::int64_t{process->uid});
  if (with_secrets) add_text(object, "cmdline", shell_words(process->argv));
  add_time(object, "startTime", process->start_time);
  object.end();
}

void add_certificates(JsonObject& object, const flow::CertificateChain* chain) {
  if (chain == nullptr) return;
  JsonArray array(object.name("certificates"));
  for (const auto& facts : *chain) {
    JsonObject one(array.item());
    one.text("subject", facts.subject);
    one.text("issuer", facts.issuer);
    JsonArray names(one.name("names"));
    for (const std::string& name : facts.names) append_json_string(names.item(), name);
    names.end();
    add_time(one, "notBefore", facts.not_before);
    add_time(one, "notAfter", facts.not_after);
    one.text("sha256", facts.sha256);
    one.end();
  }
  array.end();
}

void add_side(JsonObject& object, std::string_view name, const flow::TlsFacts* tls) {
  if (tls == nullptr) return;
  JsonObject side(object.name(name));
  side.text("version", tls->version);
  side.text("cipher", tls->cipher);
  add_text(side, "alpn", tls->alpn);
  add_text(side, "clientCertificate", tls->client_certificate);
  add_certificates(side, tls->certificates.get());
  side.end();
}

void add_tls(JsonObject& entry, const flow::ConnectionRecord& connection) {
  if (!connection.tls && !connection.upstream_tls) return;
  JsonObject object(entry.name("_tls"));
  add_text(object, "sni", connection.sni);
  add_side(object, "client", connection.tls.get());
  add_side(object, "server", connection.upstream_tls.get());
  object.end();
}

void add_millis(JsonObject& object, std::string_view name, const flow::Offset& offset) {
  if (offset) append_millis(object.name(name), *offset);
}

/// What the entry itself has no place for.
void add_osproxy(JsonObject& entry, const flow::Flow& flow) {
  const flow::HttpFlow& http = *flow.http();
  const flow::ConnectionRecord& connection = *http.connection;
  JsonObject object(entry.name("_osproxy"));
  object.integer("id", std::int64_t(http.id));
  object.integer("conn", std::int64_t(connection.id));
  add_text(object, "uuid", flow.uuid);
  add_time(object, "began", http.began);
  add_time(object, "opened", connection.opened);
  object.text("client", base::to_string(connection.client));
  object.text("server", base::to_string(connection.server));
  add_text(object, "host", http.host);
  add_text(object, "connectionHost", connection.host);
  add_text(object, "decision", connection.decision);
  add_text(object, "reason", connection.reason);
  add_text(object, "error", http.error);
  add_millis(object, "duration", http.duration);
  add_millis(object, "connectStart", connection.times.connect_began);
  add_millis(object, "connected", connection.times.connected);
  add_millis(object, "upstreamTls", connection.times.upstream_tls_done);
  add_millis(object, "tls", connection.times.tls_done);
  if (http.request.body_bytes) object.integer("requestBytes", http.request.body_bytes);
  if (http.response.body_bytes) object.integer("responseBytes", http.response.body_bytes);
  if (http.request.body.is_cut()) object.boolean("requestBodyCut", true);
  if (http.response.body.is_cut()) object.boolean("responseBodyCut", true);
  if (flow.state == flow::Flow::State::live) object.text("state", "live");
  if (flow.state == flow::Flow::State::interrupted) object.text("state", "interrupted");
  add_text(object, "mark", flow.notes.mark);
  if (!flow.notes.tags.empty()) {
    JsonArray tags(object.name("tags"));
    for (const std::string& tag : flow.notes.tags) append_json_string(tags.item(), tag);
    tags.end();
  }
  object.end();
}

std::string_view way(const flow::StreamMessage& message) {
  return message.direction == flow::Direction::request ? "send" : "receive";
}

/// Chrome's form, and readers of it skip messages that lack a key.
void append_websocket(std::string& out, const flow::StreamMessage& message) {
  constexpr int kText = 1, kBinary = 2;
  const bool text = message.what.kind == http::Message::Kind::text;
  JsonObject object(out);
  object.text("type", way(message));
  add_seconds(object, "time", message.time);
  object.integer("opcode", std::int64_t{text ? kText : kBinary});
  std::string& data = object.name("data");
  text ? append_json_string(data, message.what.payload)
       : append_json_base64(data, message.what.payload);
  if (message.what.cut) object.boolean("_cut", true);
  object.end();
}

void append_close(std::string& out, const flow::StreamMessage& message) {
  JsonObject object(out);
  object.text("type", way(message));
  add_seconds(object, "time", message.time);
  object.integer("code", std::int64_t{message.what.code});
  object.text("reason", message.what.reason);
  object.end();
}

void append_event(std::string& out, const flow::StreamMessage& message) {
  JsonObject object(out);
  add_seconds(object, "time", message.time);
  object.text("eventName", message.what.name.empty() ? "message" : message.what.name);
  object.text("eventId", message.what.id);
  object.text("data", message.what.payload);
  if (message.what.cut) object.boolean("_cut", true);
  object.end();
}

void append_call(std::string& out, const flow::StreamMessage& message) {
  JsonObject object(out);
  object.text("type", way(message));
  object.text("kind", to_string(message.what.kind));
  add_seconds(object, "time", message.time);
  object.boolean("compressed", message.what.compressed);
  object.integer("size", message.what.bytes);
  append_json_base64(object.name("data"), message.what.payload);
  if (message.what.cut) object.boolean("_cut", true);
  object.end();
}

template <class Wanted>
void add_messages(JsonObject& entry, std::string_view name, const flow::Flow& flow,
                  const Wanted& wanted, void (*append)(std::string&, const flow::StreamMessage&)) {
  const auto is_wanted = [&](const auto& message) { return wanted(*message); };
  if (std::none_of(flow.messages.begin(), flow.messages.end(), is_wanted)) return;
  JsonArray array(entry.name(name));
  for (const auto& message : flow.messages) {
    if (wanted(*message)) append(array.item(), *message);
  }
  array.end();
}

bool is_said(const flow::StreamMessage& message) {
  const bool said = message.what.kind == http::Message::Kind::text ||
                    message.what.kind == http::Message::Kind::binary;
  return said && message.kind == Kind::websocket;
}

}  // namespace

void append_millis(std::string& out, std::chrono::microseconds time) {
  const auto micros = std::max<std::int64_t>(time.count(), 0);
  fmt::format_to(std::back_inserter(out), "{}.{:03}", micros / 1000, micros % 1000);
}

void add_har_connection(JsonObject& entry, const flow::ConnectionRecord& connection,
                        bool with_secrets) {
  add_process(entry, connection.process.get(), with_secrets);
  add_tls(entry, connection);
}

void add_har_facts(JsonObject& entry, const flow::Flow& flow, bool with_secrets) {
  using Message = flow::StreamMessage;
  add_har_connection(entry, *flow.http()->connection, with_secrets);
  add_messages(entry, "_webSocketMessages", flow, is_said, append_websocket);
  add_messages(
      entry, "_webSocketClose", flow,
      [](const Message& it) { return it.what.kind == http::Message::Kind::close; }, append_close);
  add_messages(
      entry, "_eventStreamMessages", flow, [](const Message& it) { return it.kind == Kind::sse; },
      append_event);
  add_messages(
      entry, "_grpcMessages", flow, [](const Message& it) { return it.kind == Kind::grpc; },
      append_call);
  add_osproxy(entry, flow);
}

}  // namespace mitm::format
