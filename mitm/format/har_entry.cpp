// What real readers insist on (views.md has the reports): all numbers are there, timings are never
// null, ssl is part of connect, sizes are those of decoded content.
#include "mitm/format/har_entry.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/text.h"
#include "mitm/format/har_facts.h"
#include "mitm/format/json_text.h"
#include "mitm/format/secrets.h"
#include "mitm/format/url_parts.h"
#include "mitm/http/content_coding.h"

namespace mitm::format {
namespace {

using std::chrono::microseconds;

constexpr std::int64_t kUnknown = -1;

microseconds between(const flow::Offset& begin, const flow::Offset& end) {
  if (!begin || !end) return microseconds{0};
  return std::max(*end - *begin, microseconds{0});
}

struct Timings {
  flow::Offset connect;  ///< TLS is part of it; empty: the connection was there already
  flow::Offset ssl;
  microseconds send{0}, wait{0}, receive{0};

  [[nodiscard]] microseconds all() const {
    return connect.value_or(microseconds{0}) + send + wait + receive;
  }
};

Timings timings_of(const flow::HttpFlow& http, bool opened_connection) {
  Timings timings;
  const flow::ConnectionTimes& times = http.connection->times;
  if (opened_connection && times.connect_began && times.connected) {
    timings.connect = between(times.connect_began, times.connected);
    if (times.upstream_tls_done) {
      timings.ssl = between(times.connected, times.upstream_tls_done);
      *timings.connect += *timings.ssl;
    }
  }
  timings.send = http.request.ended.value_or(microseconds{0});
  const flow::Offset last = http.response.ended ? http.response.ended : http.duration;
  timings.wait = between(timings.send, http.response.began ? http.response.began : last);
  const flow::Offset first = std::max(timings.send, timings.send + timings.wait);
  if (http.response.began) timings.receive = between(first, last);
  return timings;
}

std::string version_of(const std::string& version) {
  if (version == "2") return "http/2.0";  // what Chrome writes, and the only name it takes for it
  if (version == "3") return "h3";
  return version.empty() ? "unknown" : "HTTP/" + version;
}

class EntryWriter {
 public:
  EntryWriter(const flow::Flow& flow, const HarEntryStyle& style, std::string& out)
      : flow_(flow), http_(*flow.http()), style_(style), out_(out) {}

  void write() {
    JsonObject entry(out_);
    const Timings timings = timings_of(http_, style_.opened_connection);
    entry.text("pageref", style_.page);
    entry.text("startedDateTime", base::rfc3339(har_start(http_, style_.opened_connection)));
    append_millis(entry.name("time"), timings.all());
    add_request(entry);
    add_response(entry);
    JsonObject(entry.name("cache")).end();
    add_timings(entry, timings);
    const base::Address address = base::unmapped(http_.connection->server.address());
    if (!address.is_unspecified()) entry.text("serverIPAddress", address.to_string());
    entry.text("connection", fmt::format("{}", http_.connection->id));
    entry.text("_resourceType", resource_type());
    if (!flow_.notes.comment.empty()) entry.text("comment", flow_.notes.comment);
    add_har_facts(entry, flow_, style_.with_secrets);
    entry.end();
  }

 private:
  static void add_timings(JsonObject& entry, const Timings& timings) {
    JsonObject object(entry.name("timings"));
    object.integer("blocked", kUnknown);
    object.integer("dns", kUnknown);
    add_phase(object, "connect", timings.connect);
    add_phase(object, "ssl", timings.ssl);
    append_millis(object.name("send"), timings.send);
    append_millis(object.name("wait"), timings.wait);
    append_millis(object.name("receive"), timings.receive);
    object.end();
  }

  static void add_phase(JsonObject& object, std::string_view name, const flow::Offset& phase) {
    if (!phase) return object.integer(name, kUnknown);
    append_millis(object.name(name), *phase);
  }

  [[nodiscard]] std::string shown_url(std::string_view url) const {
    return style_.with_secrets ? std::string(url) : mask_url(url);
  }
  [[nodiscard]] std::string shown_field(std::string_view name, std::string_view value) const {
    return style_.with_secrets ? std::string(value) : mask_field(name, value);
  }

  void append_fields(std::string& out, const http::Fields& fields) const {
    JsonArray array(out);
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const auto [name, value] = fields[i];
      append_pair(array.item(), name, shown_field(name, value));
    }
    array.end();
  }

  static void append_pair(std::string& out, std::string_view name, std::string_view value) {
    JsonObject pair(out);
    pair.text("name", name);
    pair.text("value", value);
    pair.end();
  }

  /// Of one "a=b" of a cookie's field.
  [[nodiscard]] std::string_view cookie_value(std::string_view pair) const {
    if (!style_.with_secrets) return kMasked;
    return pair.substr(std::min(pair.find('=') + 1, pair.size()));
  }

  void append_request_cookies(std::string& out) const {
    JsonArray array(out);
    const http::Fields& fields = http_.request.fields;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      if (!base::iequals(fields[i].first, "cookie")) continue;
      for (std::string_view rest = fields[i].second; !rest.empty();) {
        const std::string_view pair = rest.substr(0, rest.find(';'));
        rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
        const std::string_view cookie = base::trimmed(pair);
        if (cookie.find('=') == cookie.npos) continue;
        append_pair(array.item(), cookie.substr(0, cookie.find('=')), cookie_value(cookie));
      }
    }
    array.end();
  }

  void append_response_cookies(std::string& out) const {
    JsonArray array(out);
    const http::Fields& fields = http_.response.fields;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const auto [name, value] = fields[i];
      const bool cookie = base::iequals(name, "set-cookie") && value.find('=') < value.find(';');
      if (cookie) append_set_cookie(array.item(), value);
    }
    array.end();
  }

  void append_set_cookie(std::string& out, std::string_view field) const {
    const std::string_view cookie = base::trimmed(field.substr(0, field.find(';')));
    JsonObject object(out);
    object.text("name", cookie.substr(0, cookie.find('=')));
    object.text("value", cookie_value(cookie));
    bool http_only = false, secure = false;
    std::string_view path, domain;
    for (std::string_view rest = field.substr(std::min(field.find(';'), field.size()));
         !rest.empty();) {
      rest.remove_prefix(1);
      const std::string_view part = base::trimmed(rest.substr(0, rest.find(';')));
      rest.remove_prefix(std::min(rest.find(';'), rest.size()));
      const std::string_view key = part.substr(0, part.find('='));
      const std::string_view value = part.substr(std::min(key.size() + 1, part.size()));
      if (base::iequals(key, "path")) path = value;
      if (base::iequals(key, "domain")) domain = value;
      http_only = http_only || base::iequals(key, "httponly");
      secure = secure || base::iequals(key, "secure");
    }
    if (!path.empty()) object.text("path", path);
    if (!domain.empty()) object.text("domain", domain);
    object.boolean("httpOnly", http_only);
    object.boolean("secure", secure);
    object.end();
  }

  void append_query(std::string& out, const std::string& url) const {
    const UrlParts parts = split_url(url);
    std::string_view query = parts.target;
    query = query.substr(0, query.find('#'));
    query.remove_prefix(std::min(query.find('?'), query.size()));
    JsonArray array(out);
    while (!query.empty()) {
      query.remove_prefix(1);
      const std::string_view pair = query.substr(0, query.find('&'));
      const std::string_view name = pair.substr(0, pair.find('='));
      if (!pair.empty())
        append_pair(array.item(), name, pair.substr(std::min(name.size() + 1, pair.size())));
      query.remove_prefix(pair.size());
    }
    array.end();
  }

  void add_size(JsonObject& object, const flow::Body& body,
                const std::optional<std::uint64_t>& bytes) const {
    const std::uint64_t size = bytes.value_or(body.size());
    object.integer("bodySize", bytes || !body.empty() ? static_cast<std::int64_t>(size) : kUnknown);
  }

  /// Readers cannot do with the "host:port" of CONNECT.
  [[nodiscard]] std::string absolute_url() const {
    if (http_.request.method == "CONNECT") return fmt::format("https://{}/", http_.url);
    return shown_url(http_.url);
  }

  void add_request(JsonObject& entry) const {
    const flow::Request& request = http_.request;
    const std::string url = absolute_url();
    JsonObject object(entry.name("request"));
    object.text("method", request.method);
    object.text("url", url);
    object.text("httpVersion", version_of(request.version));
    append_request_cookies(object.name("cookies"));
    append_fields(object.name("headers"), request.fields);
    append_query(object.name("queryString"), url);
    object.integer("headersSize", kUnknown);
    add_size(object, request.body, request.body_bytes);
    if (!request.body.empty()) add_request_body(object);
    if (!request.trailers.empty()) append_fields(object.name("_trailers"), request.trailers);
    if (!split_url(request.target).scheme.empty())  // as proxies are asked
      object.text("_target", shown_url(request.target));
    object.end();
  }

  /// HAR has text only; for other bodies HTTP Toolkit's form.
  void add_request_body(JsonObject& object) const {
    std::string scratch;
    const std::string_view body = http_.request.body.bytes(scratch);
    const std::string_view type = http_.request.fields.find("content-type");
    if (base::is_utf8(body)) {
      const bool form = base::lowercase(type).starts_with("application/x-www-form-urlencoded");
      JsonObject data(object.name("postData"));
      data.text("mimeType", type);
      data.text("text", form && !style_.with_secrets ? mask_parameters(body) : std::string(body));
      return data.end();
    }
    object.text("_requestBodyStatus", "discarded:not-representable");
    JsonObject content(object.name("_content"));
    content.integer("size", std::int64_t(body.size()));
    content.text("encoding", "base64");
    append_json_base64(content.name("text"), body);
    content.end();
  }

  void add_response(JsonObject& entry) const {
    const flow::Response& response = http_.response;
    JsonObject object(entry.name("response"));
    object.integer("status", std::int64_t{response.status});
    object.text("statusText", response.reason);
    object.text("httpVersion", version_of(http_.request.version));
    append_response_cookies(object.name("cookies"));
    append_fields(object.name("headers"), response.fields);
    add_content(object);
    object.text("redirectURL", shown_url(response.fields.find("location")));
    object.integer("headersSize", kUnknown);
    add_size(object, response.body, response.body_bytes);
    if (response.body_bytes)
      object.integer("_transferSize", static_cast<std::int64_t>(*response.body_bytes));
    object.text_or_null("_error", flow_.error());
    if (!response.trailers.empty()) append_fields(object.name("_trailers"), response.trailers);
    object.end();
  }

  void add_content(JsonObject& response) const {
    constexpr std::size_t kLimit = 64U << 20U;
    std::string scratch;
    const flow::Body& body = http_.response.body;
    const std::string_view wire = body.bytes(scratch);
    const std::string_view coding = http_.response.fields.find("content-encoding");
    std::optional<http::Decoded> decoded;
    if (!coding.empty() && !wire.empty()) decoded = http::decode_content(coding, wire, kLimit);
    const bool whole = decoded && decoded->whole && !decoded->damaged && decoded->trailing == 0;
    const std::string_view shown = whole ? std::string_view(decoded->bytes) : wire;
    JsonObject content(response.name("content"));
    const auto size = static_cast<std::int64_t>(shown.size());
    content.integer("size", whole ? size : known_size(size));
    if (whole) content.integer("compression", size - static_cast<std::int64_t>(wire.size()));
    content.text("mimeType", http_.response.fields.find("content-type"));
    if (!coding.empty() && !wire.empty() && !whole) content.boolean("_encoded", true);
    add_content_text(content, shown);
    content.end();
  }

  /// Also of bodies that were not recorded, or cut.
  [[nodiscard]] std::int64_t known_size(std::int64_t recorded) const {
    const auto& bytes = http_.response.body_bytes;
    return bytes ? static_cast<std::int64_t>(*bytes) : recorded;
  }

  static void add_content_text(JsonObject& content, std::string_view shown) {
    if (shown.empty()) return;
    if (base::is_utf8(shown)) return content.text("text", shown);
    append_json_base64(content.name("text"), shown);
    content.text("encoding", "base64");
  }

  /// Chrome's names, by which it filters.
  [[nodiscard]] std::string_view resource_type() const {
    struct Named {
      std::string_view type, name;
    };
    constexpr Named kNames[] = {{"text/html", "document"},
                                {"text/css", "stylesheet"},
                                {"image/", "image"},
                                {"font/", "font"},
                                {"audio/", "media"},
                                {"video/", "media"},
                                {"text/javascript", "script"},
                                {"application/javascript", "script"},
                                {"text/event-stream", "eventsource"},
                                {"application/manifest", "manifest"}};
    const std::string_view upgrade = http_.request.fields.find("upgrade");
    const bool websocket = std::any_of(
        flow_.messages.begin(), flow_.messages.end(),
        [](const auto& message) { return message->kind == flow::StreamMessage::Kind::websocket; });
    constexpr int kSwitchingProtocols = 101;
    if (websocket ||
        (http_.response.status == kSwitchingProtocols && base::iequals(upgrade, "websocket")))
      return "websocket";
    const std::string type = base::lowercase(http_.response.fields.find("content-type"));
    for (const Named& named : kNames) {
      if (type.starts_with(named.type)) return named.name;
    }
    return "other";
  }

  const flow::Flow& flow_;
  const flow::HttpFlow& http_;
  const HarEntryStyle& style_;
  std::string& out_;
};

}  // namespace

flow::Time har_start(const flow::HttpFlow& flow, bool opened_connection) {
  return flow.began - timings_of(flow, opened_connection).connect.value_or(microseconds{0});
}

void append_har_entry(std::string& out, const flow::Flow& flow, const HarEntryStyle& style) {
  EntryWriter(flow, style, out).write();
}

}  // namespace mitm::format
