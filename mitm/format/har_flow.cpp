// Entries of many programs: only a request with a URL is insisted on. Bodies are in the content
// coding that their fields name again, as they are in all other flows.
#include "mitm/format/har_flow.h"

#include <charconv>

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/base64.h"
#include "mitm/format/content_coder.h"
#include "mitm/format/flow_builder.h"
#include "mitm/format/har_messages.h"
#include "mitm/format/json_value.h"
#include "mitm/format/shell_words.h"
#include "mitm/format/url_parts.h"

namespace mitm::format {
namespace {

using nlohmann::json;
using std::chrono::microseconds;

/// HTTP/2 of Chrome has ":authority" and others among its fields.
http::Fields read_fields(const json& list) {
  http::Fields fields;
  for (const json& field : list) {
    const std::string name = json_text(field, "name");
    if (!name.empty() && name[0] != ':') fields.add(name, json_text(field, "value"));
  }
  return fields;
}

std::string pseudo_field(const json& list, std::string_view name) {
  for (const json& field : list) {
    if (json_text(field, "name") == name) return json_text(field, "value");
  }
  return {};
}

/// "HTTP/1.1", "http/2.0", "h2", "HTTP/2", "h3", "unknown".
std::string version_of(std::string_view text) {
  const std::string lower = base::lowercase(text);
  if (lower == "h2" || lower == "http/2" || lower == "http/2.0") return "2";
  if (lower == "h3" || lower == "http/3" || lower == "http/3.0" || lower.starts_with("h3-"))
    return "3";
  return lower.starts_with("http/") ? lower.substr(5) : std::string();
}

std::shared_ptr<const procmap::ProcessFacts> read_process(const json& object) {
  if (!object.is_object()) return nullptr;
  auto process = std::make_shared<procmap::ProcessFacts>();
  process->id.pid = static_cast<pid_t>(json_count(object, "pid").value_or(0));
  process->ppid = static_cast<pid_t>(json_count(object, "ppid").value_or(0));
  process->uid = static_cast<uid_t>(json_count(object, "uid").value_or(0));
  process->name = json_text(object, "name");
  process->exe = json_text(object, "path");
  process->user = json_text(object, "user");
  process->argv = split_shell_words(json_text(object, "cmdline"));
  process->start_time = json_time(object, "startTime").value_or(flow::Time());
  return process;
}

std::shared_ptr<const flow::TlsFacts> read_tls(const json& side) {
  if (!side.is_object()) return nullptr;
  auto tls = std::make_shared<flow::TlsFacts>();
  tls->version = json_text(side, "version");
  tls->cipher = json_text(side, "cipher");
  tls->alpn = json_text(side, "alpn");
  tls->client_certificate = json_text(side, "clientCertificate");
  const json& certificates = json_member(side, "certificates");
  if (!certificates.is_array()) return tls;
  auto chain = std::make_shared<flow::CertificateChain>();
  for (const json& object : certificates) {
    flow::CertificateFacts facts;
    facts.subject = json_text(object, "subject");
    facts.issuer = json_text(object, "issuer");
    facts.names = json_texts(object, "names");
    facts.not_before = json_time(object, "notBefore").value_or(flow::Time());
    facts.not_after = json_time(object, "notAfter").value_or(flow::Time());
    facts.sha256 = json_text(object, "sha256");
    chain->push_back(std::move(facts));
  }
  tls->certificates = std::move(chain);
  return tls;
}

class EntryReader {
 public:
  EntryReader(const json& entry, std::uint64_t number)
      : entry_(entry), ours_(json_member(entry, "_osproxy")), number_(number) {}

  base::Result<flow::Flow> read() {
    const json& request = json_member(entry_, "request");
    if (!request.is_object()) return base::failure("the entry has no request");
    if (json_text(request, "url").empty()) return base::failure("the request has no url");
    auto http = std::make_shared<flow::HttpFlow>();
    http->request.method = json_text(request, "method");
    http->request.version = version_of(json_text(request, "httpVersion"));
    http->url = json_text(request, "url");
    const bool tunnel = http->request.method == "CONNECT";
    const UrlParts url = split_url(http->url);
    http->host = url.host;
    if (const std::string host = json_text(ours_, "host"); !host.empty()) http->host = host;
    if (tunnel) http->url = std::string(url.authority);
    read_times(*http);
    http->connection = read_connection(url.host, url.port);
    read_request(request, *http);
    read_response(json_member(entry_, "response"), *http);
    http->id = json_count(ours_, "id").value_or(number_);
    http->error = json_text(ours_, "error");
    if (http->error.empty()) http->error = json_text(json_member(entry_, "response"), "_error");
    if (http->error == flow::kInterrupted) http->error.clear();  // its state says so
    flow_.messages = read_har_messages(entry_, *http);
    flow_.record = std::move(http);
    read_notes();
    return std::move(flow_);
  }

 private:
  [[nodiscard]] const json& timings() const { return json_member(entry_, "timings"); }

  void read_times(flow::HttpFlow& http) const {
    flow::Time began = json_time(entry_, "startedDateTime").value_or(flow::Time());
    for (const char* phase : {"blocked", "dns", "connect"})
      began += json_millis(timings(), phase).value_or(microseconds{0});
    http.began = json_time(ours_, "began").value_or(began);
    const flow::Offset send = json_millis(timings(), "send");
    const flow::Offset wait = json_millis(timings(), "wait");
    const flow::Offset receive = json_millis(timings(), "receive");
    http.request.ended = send;
    const bool answered = json_count(json_member(entry_, "response"), "status").value_or(0) != 0;
    if (answered && send && wait) http.response.began = *send + *wait;
    if (http.response.began && receive) http.response.ended = *http.response.began + *receive;
    http.duration = json_millis(ours_, "duration");
    if (!http.duration && ours_.is_null()) http.duration = http.response.ended;
  }

  [[nodiscard]] std::uint64_t connection_id() const {
    const std::string name = json_text(entry_, "connection");
    std::uint64_t id = 0;
    const char* const end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data(), end, id);
    if (error == std::errc{} && stop == end) return id;
    return name.empty() ? number_ : number_for(name);
  }

  std::shared_ptr<const flow::ConnectionRecord> read_connection(std::string_view host,
                                                                std::uint16_t port) const {
    auto record = std::make_shared<flow::ConnectionRecord>();
    record->id = json_count(ours_, "conn").value_or(connection_id());
    record->opened = json_time(ours_, "opened")
                         .value_or(json_time(entry_, "startedDateTime").value_or(flow::Time()));
    record->process = read_process(json_member(entry_, "_process"));
    const auto client = base::parse_endpoint(json_text(ours_, "client"));
    const auto server = base::parse_endpoint(json_text(ours_, "server"));
    if (client) record->client = *client;
    std::string address = json_text(entry_, "serverIPAddress");
    if (address.starts_with('[') && address.ends_with(']'))  // Firefox's
      address = address.substr(1, address.size() - 2);
    record->server = server ? *server : endpoint_of(address, port);
    record->host = ours_.is_object() ? json_text(ours_, "connectionHost") : std::string(host);
    const json& tls = json_member(entry_, "_tls");
    record->sni = json_text(tls, "sni");
    record->tls = read_tls(json_member(tls, "client"));
    record->upstream_tls = read_tls(json_member(tls, "server"));
    record->decision = json_text(ours_, "decision");
    record->reason = json_text(ours_, "reason");
    record->times.connect_began = json_millis(ours_, "connectStart");
    record->times.connected = json_millis(ours_, "connected");
    record->times.upstream_tls_done = json_millis(ours_, "upstreamTls");
    record->times.tls_done = json_millis(ours_, "tls");
    return record;
  }

  void read_request(const json& object, flow::HttpFlow& http) const {
    flow::Request& request = http.request;
    const json& headers = json_member(object, "headers");
    request.fields = read_fields(headers);
    request.trailers = read_fields(json_member(object, "_trailers"));
    const UrlParts url = split_url(http.url);
    const bool tunnel = request.method == "CONNECT";
    const std::string_view host = request.fields.find("host");
    const std::string named = pseudo_field(headers, ":authority");
    request.scheme = url.scheme;
    request.authority = !named.empty() ? std::string_view(named)
                        : host.empty() ? url.authority
                                       : host;
    request.target = json_text(object, "_target");
    if (request.target.empty()) request.target = tunnel ? url.authority : target_of(url, request);
    if (tunnel) request.scheme = http.connection->tls ? "https" : "http";
    const std::string body = request_body(object);
    request.body = body_of(body, json_true(ours_, "requestBodyCut"));
    request.body_bytes = size_of(object, "requestBytes");
    if (!request.body_bytes && !body.empty()) request.body_bytes = body.size();
  }

  /// Without a fragment, which no server is told.
  static std::string target_of(const UrlParts& url, const flow::Request& request) {
    const std::string_view target = url.target.substr(0, url.target.find('#'));
    if (target.empty()) return request.method == "OPTIONS" ? "*" : "/";
    return target.starts_with('/') ? std::string(target) : fmt::format("/{}", target);
  }

  [[nodiscard]] std::optional<std::uint64_t> size_of(const json& message,
                                                     std::string_view exact) const {
    if (const auto count = json_count(ours_, exact)) return count;
    if (ours_.is_object()) return std::nullopt;
    return json_count(message, "bodySize");
  }

  static std::string request_body(const json& request) {
    const json& content = json_member(request, "_content");
    if (content.is_object()) return json_bytes(content, "text");
    const json& data = json_member(request, "postData");
    if (json_text(data, "encoding") == "base64") return json_bytes(data, "text");
    std::string text = json_text(data, "text");
    if (!text.empty()) return text;
    for (const json& one : json_member(data, "params")) {
      if (!text.empty()) text += '&';
      text += json_text(one, "name") + '=' + json_text(one, "value");
    }
    return text;
  }

  void read_response(const json& object, flow::HttpFlow& http) const {
    flow::Response& response = http.response;
    response.status =
        static_cast<int>(std::min<std::uint64_t>(json_count(object, "status").value_or(0), 999));
    response.reason = json_text(object, "statusText");
    response.fields = read_fields(json_member(object, "headers"));
    response.trailers = read_fields(json_member(object, "_trailers"));
    const json& content = json_member(object, "content");
    const std::string body = response_body(content, response.fields);
    response.body = body_of(body, json_true(ours_, "responseBodyCut"));
    response.body_bytes = size_of(object, "responseBytes");
    if (!response.body_bytes && !body.empty()) response.body_bytes = body.size();
  }

  static std::string response_body(const json& content, const http::Fields& fields) {
    std::string text = json_text(content, "encoding") == "base64" ? json_bytes(content, "text")
                                                                  : json_text(content, "text");
    const std::string_view coding = fields.find("content-encoding");
    if (text.empty() || coding.empty() || json_true(content, "_encoded")) return text;
    return encode_content(coding, text).value_or(std::move(text));
  }

  void read_notes() {
    flow_.uuid = json_text(ours_, "uuid");
    flow_.notes.comment = json_text(entry_, "comment");
    flow_.notes.mark = json_text(ours_, "mark");
    flow_.notes.tags = json_texts(ours_, "tags");
    const std::string state = json_text(ours_, "state");
    if (state == "live") flow_.state = flow::Flow::State::live;
    if (state == "interrupted") flow_.state = flow::Flow::State::interrupted;
  }

  const json& entry_;
  const json& ours_;
  std::uint64_t number_;
  flow::Flow flow_;
};

}  // namespace

base::Result<flow::Flow> read_har_entry(const json& entry, std::uint64_t number) {
  return EntryReader(entry, number).read();
}

}  // namespace mitm::format
