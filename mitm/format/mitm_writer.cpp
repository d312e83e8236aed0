// mitmproxy's readers are strict: an unknown or a missing key ends the reading of the file. The
// keys of each version are those of its own get_state().
#include <algorithm>

#include <fmt/format.h>

#include "base/base64.h"
#include "mitm/flow/dns_names.h"
#include "mitm/format/dns_data.h"
#include "mitm/format/mitm_file.h"
#include "mitm/format/mitm_metadata.h"
#include "mitm/format/mitm_state.h"
#include "mitm/format/url_parts.h"

namespace mitm::format {
namespace {

using flow::Offset;
using flow::Time;
using Seconds = std::optional<double>;

/// A UUID of version 8 (RFC 9562) that is always the same for the same thing.
std::string make_uuid(unsigned role, Time time, std::uint64_t id) {
  const auto micros = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count());
  return fmt::format("{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}", micros >> 16U & 0xffffffffU,
                     micros & 0xffffU, role, 0x8000U | (id >> 48U & 0x3fffU), id & 0xffffffffffffU);
}
enum Role : unsigned { kFlow, kClient, kServer };

Seconds later(Time begin, const Offset& offset) {
  if (!offset) return std::nullopt;
  return to_seconds(begin + *offset);
}

void append_address(std::string& out, std::string_view host, std::uint16_t port) {
  TnetList pair(out);
  append_tnet_text(out, host);
  append_tnet_integer(out, port);
  pair.end();
}

void append_endpoint(std::string& out, const base::Endpoint& endpoint) {
  append_address(out, base::unmapped(endpoint.address()).to_string(), endpoint.port());
}

void append_fields(std::string& out, const http::Fields& fields) {
  TnetList list(out);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    TnetList pair(out);
    append_tnet_bytes(out, name);
    append_tnet_bytes(out, value);
    pair.end();
  }
  list.end();
}

/// The names that mitmproxy accepts; others are an error there.
bool is_known_tls(std::string_view version) {
  constexpr std::string_view kKnown[] = {"SSLv3",   "TLSv1",    "TLSv1.1", "TLSv1.2",
                                         "TLSv1.3", "DTLSv0.9", "DTLSv1",  "DTLSv1.2"};
  return std::find(std::begin(kKnown), std::end(kKnown), version) != std::end(kKnown);
}

/// PEM (RFC 7468): lines of 64 characters.
std::string pem_of(std::string_view der) {
  constexpr std::size_t kLine = 64;
  const std::string text = base::base64(der);
  std::string pem = "-----BEGIN CERTIFICATE-----\n";
  for (std::size_t at = 0; at < text.size(); at += kLine)
    pem.append(text, at, kLine).push_back('\n');
  return pem += "-----END CERTIFICATE-----\n";
}

/// mitmproxy takes the first one for the server's own: a chain of which one is not known is none.
void append_certificates(std::string& out, const flow::CertificateChain* chain) {
  TnetList list(out);
  if (chain != nullptr &&
      std::ranges::none_of(*chain, &std::string::empty, &flow::CertificateFacts::der)) {
    for (const auto& certificate : *chain) append_tnet_bytes(out, pem_of(certificate.der));
  }
  list.end();
}

/// What both sides of a connection have.
void add_side(std::string& out, TnetDict& dict, const flow::TlsFacts* tls, bool v21) {
  const flow::TlsFacts none;
  const flow::TlsFacts& facts = tls == nullptr ? none : *tls;
  dict.boolean("tls", tls != nullptr);
  dict.key("certificate_list");
  append_certificates(out, facts.certificates.get());
  facts.alpn.empty() ? dict.null("alpn") : dict.bytes("alpn", facts.alpn);
  dict.key("alpn_offers");
  TnetList offers(out);
  if (!facts.alpn.empty()) append_tnet_bytes(out, facts.alpn);
  offers.end();
  dict.text_or_null(v21 ? "cipher" : "cipher_name", facts.cipher);
  dict.key("cipher_list");
  TnetList ciphers(out);
  if (!facts.cipher.empty()) append_tnet_text(out, facts.cipher);
  ciphers.end();
  dict.text_or_null("tls_version", is_known_tls(facts.version) ? facts.version : "");
  dict.null("error");
}

class StateWriter {
 public:
  StateWriter(const flow::Flow& flow, bool v21, std::string& out)
      : flow_(flow), connection_(*flow.facts().connection), v21_(v21), out_(out) {}

  void write() {
    TnetDict state(out_);
    const flow::FlowFacts& facts = flow_.facts();
    state.integer("version", v21_ ? 21 : 17);
    state.text("type", flow_.http() ? "http" : flow_.dns() ? "dns" : "tcp");
    state.text("id", flow_.uuid.empty() ? make_uuid(kFlow, facts.began, facts.id) : flow_.uuid);
    add_error(state);
    state.key("client_conn");
    append_client();
    state.key("server_conn");
    append_server();
    state.boolean("intercepted", false);
    state.null("is_replay");
    state.text("marked", flow_.notes.mark);
    append_metadata(state.key("metadata"), flow_);
    state.text("comment", flow_.notes.comment);
    state.real("timestamp_created", to_seconds(facts.began));
    if (v21_) state.null("backup");
    if (flow_.http()) {
      add_http(state, *flow_.http());
    } else if (flow_.dns()) {
      add_dns(state, *flow_.dns());
    } else {
      append_said(state.key("messages"));
    }
    state.end();
  }

 private:
  [[nodiscard]] Time ended() const {
    return flow_.facts().began + flow_.facts().duration.value_or(std::chrono::microseconds{0});
  }
  [[nodiscard]] const char* transport() const {
    constexpr std::uint16_t kDnsOverTls = 853;
    return flow_.dns() && connection_.server.port() != kDnsOverTls ? "udp" : "tcp";
  }

  void add_error(TnetDict& state) {
    if (flow_.error().empty()) return state.null("error");
    TnetDict error(state.key("error"));
    error.text("msg", flow_.error());
    error.real("timestamp", to_seconds(ended()));
    error.end();
  }

  /// What the version names differently on each side, or has no longer.
  void add_old_keys(TnetDict& dict, const flow::TlsFacts* tls) {
    constexpr int kClosed = 0;
    dict.integer("state", kClosed);
    dict.boolean("tls_established", tls != nullptr);
  }

  void append_client() {
    TnetDict dict(out_);
    append_endpoint(dict.key(v21_ ? "peername" : "address"), connection_.client);
    append_endpoint(dict.key("sockname"), connection_.server);
    dict.text("id", make_uuid(kClient, connection_.opened, connection_.id));
    add_side(out_, dict, connection_.tls.get(), v21_);
    dict.text_or_null("sni", connection_.sni);
    dict.real("timestamp_start", to_seconds(connection_.opened));
    dict.null("timestamp_end");
    dict.real("timestamp_tls_setup", later(connection_.opened, connection_.times.tls_done));
    dict.null("mitmcert");
    if (v21_) {
      dict.text("transport_protocol", transport());
      dict.text("proxy_mode", "local");
    } else {
      add_old_keys(dict, connection_.tls.get());
      dict.empty_list("tls_extensions");
    }
    dict.end();
  }

  void append_server() {
    const flow::ConnectionTimes& times = connection_.times;
    const base::Endpoint& server = connection_.server;
    TnetDict dict(out_);
    append_address(
        dict.key("address"),
        connection_.host.empty() ? base::unmapped(server.address()).to_string() : connection_.host,
        server.port());
    append_endpoint(dict.key(v21_ ? "peername" : "ip_address"), server);
    dict.null(v21_ ? "sockname" : "source_address");
    dict.text("id", make_uuid(kServer, connection_.opened, connection_.id));
    add_side(out_, dict, connection_.upstream_tls.get(), v21_);
    dict.text_or_null("sni", connection_.upstream_tls ? connection_.sni : std::string());
    dict.real("timestamp_start", later(connection_.opened, times.connect_began));
    dict.null("timestamp_end");
    dict.real("timestamp_tcp_setup", later(connection_.opened, times.connected));
    dict.real("timestamp_tls_setup", later(connection_.opened, times.upstream_tls_done));
    dict.null("via");
    if (v21_) {
      dict.text("transport_protocol", transport());
    } else {
      add_old_keys(dict, connection_.upstream_tls.get());
      dict.null("via2");
    }
    dict.end();
  }

  static void add_body(TnetDict& dict, const flow::Body& body,
                       const std::optional<std::uint64_t>& bytes) {
    const bool recorded = !body.empty() || (!body.is_cut() && bytes.value_or(0) == 0);
    if (!recorded) return dict.null("content");
    std::string scratch;
    dict.bytes("content", body.bytes(scratch));
  }

  static std::string version_of(const flow::HttpFlow& http) {
    if (http.request.version == "2" || http.request.version == "3")
      return "HTTP/" + http.request.version + ".0";
    return "HTTP/" + (http.request.version.empty() ? "1.1" : http.request.version);
  }

  static void add_trailers(TnetDict& dict, const http::Fields& trailers) {
    if (trailers.empty()) return dict.null("trailers");
    append_fields(dict.key("trailers"), trailers);
  }

  void add_request(TnetDict& state, const flow::HttpFlow& http) {
    const flow::Request& request = http.request;
    const UrlParts url = split_url(http.url);
    const UrlParts target = split_url(request.target);  // absolute-form has a scheme
    const bool connect = request.method == "CONNECT";
    const bool absolute = !target.scheme.empty() || connect || request.version == "2";
    const bool split = !target.scheme.empty() || connect;
    TnetDict dict(state.key("request"));
    dict.bytes("http_version", version_of(http));
    append_fields(dict.key("headers"), request.fields);
    add_body(dict, request.body, request.body_bytes);
    add_trailers(dict, request.trailers);
    dict.real("timestamp_start", to_seconds(http.began));
    dict.real("timestamp_end", later(http.began, request.ended));
    dict.text("host", url.host.empty() ? std::string_view(http.host) : url.host);
    dict.integer("port", url.port == 0 ? connection_.server.port() : url.port);
    dict.bytes("method", request.method);
    dict.bytes("scheme", connect ? std::string_view() : std::string_view(request.scheme));
    dict.bytes("authority",
               split ? target.authority : std::string_view(absolute ? request.authority : ""));
    dict.bytes("path", connect ? "" : split ? target.target : std::string_view(request.target));
    dict.end();
  }

  void add_response(TnetDict& state, const flow::HttpFlow& http) {
    const flow::Response& response = http.response;
    if (response.status == 0) return state.null("response");
    const Offset began = response.began ? response.began : http.request.ended;
    TnetDict dict(state.key("response"));
    dict.bytes("http_version", version_of(http));
    append_fields(dict.key("headers"), response.fields);
    add_body(dict, response.body, response.body_bytes);
    add_trailers(dict, response.trailers);
    dict.real("timestamp_start", later(http.began, began).value_or(to_seconds(http.began)));
    dict.real("timestamp_end", later(http.began, response.ended));
    dict.integer("status_code", response.status);
    dict.bytes("reason", response.reason);
    dict.end();
  }

  void add_http(TnetDict& state, const flow::HttpFlow& http) {
    add_request(state, http);
    add_response(state, http);
    const bool any = std::any_of(flow_.messages.begin(), flow_.messages.end(), [](const auto& it) {
      return it->kind == flow::StreamMessage::Kind::websocket;
    });
    if (!any) return state.null("websocket");
    append_websocket(state.key("websocket"));
  }

  void append_websocket(std::string& out) {
    const flow::StreamMessage* close = nullptr;
    TnetDict dict(out);
    dict.key("messages");
    TnetList list(out_);
    for (const auto& message : flow_.messages) {
      if (message->kind != flow::StreamMessage::Kind::websocket) continue;
      if (message->what.kind == http::Message::Kind::close && close == nullptr)
        close = message.get();
      append_message(*message);
    }
    list.end();
    if (close == nullptr) {
      for (const char* key : {"closed_by_client", "close_code", "close_reason", "timestamp_end"})
        dict.null(key);
    } else {
      constexpr int kNoStatus = 1005;  // RFC 6455 section 7.4.1
      dict.boolean("closed_by_client", close->direction == flow::Direction::request);
      dict.integer("close_code", close->what.code == 0 ? kNoStatus : close->what.code);
      dict.text("close_reason", close->what.reason);
      dict.real("timestamp_end", to_seconds(close->time));
    }
    dict.end();
  }

  /// Pings and pongs have no place.
  void append_message(const flow::StreamMessage& message) {
    const bool text = message.what.kind == http::Message::Kind::text;
    if (!text && message.what.kind != http::Message::Kind::binary) return;
    TnetList one(out_);
    append_tnet_integer(out_, text ? 1 : 2);
    append_tnet_boolean(out_, message.direction == flow::Direction::request);
    append_tnet_bytes(out_, message.what.payload);
    append_tnet_real(out_, to_seconds(message.time));
    append_tnet_boolean(out_, false);  // dropped
    append_tnet_boolean(out_, false);  // injected
    one.end();
  }

  void append_said(std::string& out) {
    TnetList list(out);
    for (const auto& message : flow_.messages) {
      TnetList one(out);
      append_tnet_boolean(out, message->direction == flow::Direction::request);
      append_tnet_bytes(out, message->what.payload);
      append_tnet_real(out, to_seconds(message->time));
      one.end();
    }
    list.end();
  }

  static std::string_view plain_name(std::string_view name) {
    return name == "." ? std::string_view() : name;
  }

  void append_dns(std::string& out, const flow::DnsFlow& dns, bool query) {
    TnetDict dict(out);
    dict.integer("id", 0);
    dict.boolean("query", query);
    dict.integer("op_code", 0);
    dict.boolean("authoritative_answer", false);
    dict.boolean("truncation", false);
    dict.boolean("recursion_desired", true);
    dict.boolean("recursion_available", !query);
    dict.integer("reserved", 0);
    dict.integer("response_code", query ? 0 : flow::dns_rcode_number(dns.rcode));
    dict.key("questions");
    TnetList questions(out);
    TnetDict question(out);
    question.text("name", plain_name(dns.name));
    question.integer("type", flow::dns_type_number(dns.type));
    question.integer("class_", 1);
    question.end();
    questions.end();
    dict.key("answers");
    TnetList answers(out);
    if (!query) {
      for (const auto& answer : dns.answers) append_answer(answer);
    }
    answers.end();
    dict.empty_list("authorities");
    dict.empty_list("additionals");
    dict.real("timestamp", to_seconds(query ? dns.began : ended()));
    dict.end();
  }

  void append_answer(const flow::DnsFlow::Answer& answer) {
    const std::uint16_t type = flow::dns_type_number(answer.type);
    TnetDict dict(out_);
    dict.text("name", plain_name(answer.name));
    dict.integer("type", type);
    dict.integer("class_", 1);
    dict.integer("ttl", answer.ttl);
    dict.bytes("data", dns_data_bytes(type, answer.data));
    dict.end();
  }

  void add_dns(TnetDict& state, const flow::DnsFlow& dns) {
    append_dns(state.key("request"), dns, true);
    if (dns.rcode.empty()) return state.null("response");
    append_dns(state.key("response"), dns, false);
  }

  const flow::Flow& flow_;
  const flow::ConnectionRecord& connection_;
  bool v21_;
  std::string& out_;
};

class MitmWriter final : public FlowWriter {
 public:
  explicit MitmWriter(MitmVersion version) : version_(version) {}

  base::Result<> write(const flow::Flow& flow, std::string& out) override {
    StateWriter(flow, version_ == MitmVersion::v21, out).write();
    return {};
  }

 private:
  MitmVersion version_;
};

}  // namespace

std::unique_ptr<FlowWriter> make_mitm_writer(MitmVersion version) {
  return std::make_unique<MitmWriter>(version);
}

}  // namespace mitm::format
