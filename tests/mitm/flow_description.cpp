#include "tests/mitm/flow_description.h"

#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/network.h"
#include "base/text.h"
#include "mitm/flow/event.h"

namespace mitm::flow {
namespace {

enum class Scope : std::uint8_t { files, sessions };

class Description {
 public:
  explicit Description(Scope scope) : scope_(scope) {}

  [[nodiscard]] bool is_of_session() const { return scope_ == Scope::sessions; }
  /// Numbers that a session gives anew.
  void add_id(std::string_view key, std::uint64_t id) {
    if (!is_of_session()) add(key, id);
  }
  template <class Value>
  void add(std::string_view key, const Value& value) {
    text_ += fmt::format("{}{}: {}\n", prefix_, key, value);
  }
  void add(std::string_view key, const std::string& value) {
    text_ += fmt::format("{}{}: {}\n", prefix_, key, base::printable(value));
  }
  void add(std::string_view key, Time time) { add(key, base::rfc3339(time)); }
  void add(std::string_view key, const Offset& offset) {
    offset ? add(key, offset->count()) : add(key, std::string("-"));
  }
  void add(std::string_view key, const std::optional<std::uint64_t>& count) {
    count ? add(key, *count) : add(key, std::string("-"));
  }
  void add(std::string_view key, const http::Fields& fields) {
    for (std::size_t i = 0; i < fields.size(); ++i)
      add(key, fmt::format("{}={}", fields[i].first, fields[i].second));
  }
  void add(std::string_view key, const Body& body) {
    add(key, body.text());
    add(fmt::format("{}.cut", key), body.is_cut());
  }
  void begin(std::string prefix) { prefix_ = std::move(prefix); }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  Scope scope_;
  std::string prefix_;
  std::string text_;
};

void add_process(const procmap::ProcessFacts* process, Description& out) {
  out.begin("process.");
  if (process == nullptr) return out.add("known", false);
  out.add("pid", process->id.pid);
  out.add("ppid", process->ppid);
  out.add("uid", process->uid);
  out.add("gid", process->gid);
  out.add("name", process->name);
  out.add("exe", process->exe);
  for (const std::string& argument : process->argv) out.add("argv", argument);
  out.add("user", process->user);
  out.add("group", process->group);
  out.add("cgroup", process->cgroup);
  out.add("start_time", process->start_time);
  if (!out.is_of_session()) return;
  out.add("start_ticks", process->id.start_ticks);
  out.add("image", process->image);
  out.add("groups", fmt::format("{}", process->groups));
  out.add("other_names", fmt::format("{}", process->other_names));
  for (const auto& ancestor : process->ancestors)
    out.add("ancestor", fmt::format("{} {} {} {}", ancestor.id.pid, ancestor.id.start_ticks,
                                    ancestor.exe, ancestor.other_names));
}

void add_tls(const std::string& side, const TlsFacts* tls, Description& out) {
  out.begin(side);
  if (tls == nullptr) return out.add("agreed", false);
  out.add("version", tls->version);
  out.add("cipher", tls->cipher);
  out.add("alpn", tls->alpn);
  out.add("client_certificate", tls->client_certificate);
  if (!tls->certificates) return;
  for (const auto& facts : *tls->certificates) {
    out.add("certificate", fmt::format("{} by {} for {}, {}", facts.subject, facts.issuer,
                                       fmt::join(facts.names, " "), facts.sha256));
    out.add("not_before", facts.not_before);
    out.add("not_after", facts.not_after);
    out.add("der", facts.der);
  }
}

void add_connection(const ConnectionRecord& record, Description& out) {
  out.begin("connection.");
  out.add_id("id", record.id);
  out.add("opened", record.opened);
  out.add("client", base::to_string(record.client));
  out.add("server", base::to_string(record.server));
  out.add("host", record.host);
  out.add("sni", record.sni);
  out.add("decision", record.decision);
  out.add("reason", record.reason);
  out.add("connect_began", record.times.connect_began);
  out.add("connected", record.times.connected);
  out.add("upstream_tls_done", record.times.upstream_tls_done);
  out.add("tls_done", record.times.tls_done);
  add_process(record.process.get(), out);
  add_tls("tls.", record.tls.get(), out);
  add_tls("upstream_tls.", record.upstream_tls.get(), out);
}

void add_edits(const flow::Edits& edits, Description& out) {
  out.begin("edits.");
  for (const std::string& name : edits.by) out.add("by", name);
  out.add("answered", edits.answered);
  if (const auto& request = edits.request) {
    out.add("request", request->method + " " + request->target);
    out.add("request.field", request->fields);
    out.add("request.trailer", request->trailers);
    out.add("request.body", request->body);
  }
  if (const auto& response = edits.response) {
    out.add("response", std::to_string(response->status) + " " + response->reason);
    out.add("response.field", response->fields);
    out.add("response.trailer", response->trailers);
    out.add("response.body", response->body);
  }
}

void add_http(const HttpFlow& http, Description& out) {
  out.begin("");
  out.add("host", http.host);
  out.add("url", http.url);
  out.add("refused", http.refused);
  if (http.edits) add_edits(*http.edits, out);
  out.begin("request.");
  out.add("method", http.request.method);
  out.add("scheme", http.request.scheme);
  out.add("authority", http.request.authority);
  out.add("target", http.request.target);
  out.add("version", http.request.version);
  out.add("field", http.request.fields);
  out.add("trailer", http.request.trailers);
  out.add("body", http.request.body);
  out.add("body_bytes", http.request.body_bytes);
  out.add("ended", http.request.ended);
  out.begin("response.");
  out.add("status", http.response.status);
  out.add("reason", http.response.reason);
  out.add("field", http.response.fields);
  out.add("trailer", http.response.trailers);
  out.add("body", http.response.body);
  out.add("body_bytes", http.response.body_bytes);
  out.add("began", http.response.began);
  out.add("ended", http.response.ended);
  for (const auto& interim : http.response.interim) {
    out.add("interim", interim.status);
    out.add("interim.field", interim.fields);
    out.add("interim.at", interim.at);
  }
}

void add_dns(const DnsFlow& dns, Description& out) {
  out.begin("dns.");
  out.add("name", dns.name);
  out.add("type", dns.type);
  out.add("rcode", dns.rcode);
  out.add("request_bytes", dns.request_bytes);
  out.add("response_bytes", dns.response_bytes);
  for (const auto& answer : dns.answers) {
    out.add("answer", fmt::format("{} {} {} {}", answer.name, answer.type, answer.ttl,
                                  base::printable(answer.data)));
  }
}

void add_tcp(const TcpFlow& tcp, Description& out) {
  out.begin("tcp.");
  out.add("host", tcp.host);
  out.add("starttls", tcp.starttls);
  out.add("request_bytes", tcp.request_bytes);
  out.add("response_bytes", tcp.response_bytes);
}

void add_message(const StreamMessage& message, Description& out) {
  out.begin("message.");
  out.add("kind", std::string(to_string(message.what.kind)));
  if (out.is_of_session()) out.add("protocol", std::string(to_string(message.kind)));
  out.add_id("flow", message.flow);
  out.add_id("connection", message.connection->id);
  out.add("time", message.time);
  if (!out.is_of_session()) {
    out.add("host", message.host);
    out.add("url", message.url);
  }
  out.add("from_server", message.direction == Direction::response);
  out.add("payload", message.what.payload);
  out.add("bytes", message.what.bytes);
  out.add("wire_bytes", message.what.wire_bytes);
  out.add("compressed", message.what.compressed);
  out.add("cut", message.what.cut);
  out.add("code", message.what.code);
  out.add("reason", message.what.reason);
  out.add("name", message.what.name);
  out.add("id", message.what.id);
}

std::string describe(const Flow& flow, Scope scope) {
  Description out{scope};
  const FlowFacts& facts = flow.facts();
  out.add("type", std::string(flow.type()));
  out.add("state", static_cast<int>(flow.state));
  out.add("uuid", flow.uuid);
  out.add("mark", flow.notes.mark);
  out.add("comment", flow.notes.comment);
  for (const std::string& tag : flow.notes.tags) out.add("tag", tag);
  out.add_id("id", facts.id);
  out.add("began", facts.began);
  out.add("duration", facts.duration);
  out.add("error", facts.error);
  add_connection(*facts.connection, out);
  if (flow.http() != nullptr) add_http(*flow.http(), out);
  if (flow.tcp() != nullptr) add_tcp(*flow.tcp(), out);
  if (flow.dns() != nullptr) add_dns(*flow.dns(), out);
  for (const auto& message : flow.messages) add_message(*message, out);
  return out.text();
}

std::string differences(const std::string& expected, const std::string& found) {
  std::istringstream left(expected), right(found);
  std::string found_line, expected_line, text;
  while (true) {
    const bool more_left = static_cast<bool>(std::getline(left, expected_line));
    const bool more_right = static_cast<bool>(std::getline(right, found_line));
    if (!more_left && !more_right) return text;
    if (more_left && more_right && expected_line == found_line) continue;
    if (more_left) text += "-" + expected_line + "\n";
    if (more_right) text += "+" + found_line + "\n";
  }
}

}  // namespace

std::string describe(const Flow& flow) {
  return describe(flow, Scope::files);
}

std::string differences(const Flow& expected, const Flow& found) {
  return differences(describe(expected), describe(found));
}

std::string differences_but_ids(const Flow& expected, const Flow& found) {
  return differences(describe(expected, Scope::sessions), describe(found, Scope::sessions));
}

}  // namespace mitm::flow
