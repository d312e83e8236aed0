// Requests and responses but for their bodies, and when they came.
#include <array>

#include "mitm/query/field.h"
#include "mitm/query/subject.h"
#include "mitm/query/url_parts.h"

namespace mitm::query {
namespace {

using enum Columns::Table;
using enum ValueType;

#define OSPROXY_HTTP_URL "CASE flow.type WHEN 'http' THEN flow.url END"

double as_number(std::chrono::microseconds offset) {
  return static_cast<double>(offset.count());
}

template <auto member>
void url_part(Subject& it, const Test&, Values& values) {
  if (it.http != nullptr) values.known(url_parts(it.http->url).*member);
}

void add_query(std::string_view query, const Test& test, Values& values) {
  if (test.key.empty()) return values.known(query);
  visit_parameters(query, [&](const std::string& name, const std::string& value) {
    if (name == test.key) values.text(value);
  });
}

/// With a key the values of the fields of that name, else whole fields, "Name: value".
void add_fields(const http::Fields& fields, const Test& test, Values& values) {
  std::string line;
  for (std::size_t i = 0; i < fields.size() && !values.decided(); ++i) {
    const auto [name, value] = fields[i];
    if (test.key.empty()) {
      values.text(line.assign(name).append(": ").append(value));
    } else if (http::iequals(name, test.key)) {
      values.text(value);
    }
  }
}

/// One "name=value"; with a key the value, if that is the name.
void add_cookie(std::string_view cookie, const Test& test, Values& values) {
  cookie = base::trimmed(cookie);
  if (cookie.empty()) return;
  if (test.key.empty()) return values.text(cookie);
  const auto equals = cookie.find('=');
  if (equals != cookie.npos && base::trimmed(cookie.substr(0, equals)) == test.key)
    values.text(base::trimmed(cookie.substr(equals + 1)));
}

void request_cookies(Subject& it, const Test& test, Values& values) {
  if (it.http == nullptr) return;
  const http::Fields& fields = it.http->request.fields;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    auto [name, list] = fields[i];
    if (!http::iequals(name, "cookie")) continue;
    while (!list.empty()) {
      const auto length = std::min(list.find(';'), list.size());
      add_cookie(list.substr(0, length), test, values);
      list.remove_prefix(std::min(length + 1, list.size()));
    }
  }
}

void response_cookies(Subject& it, const Test& test, Values& values) {
  if (it.http == nullptr) return;
  const http::Fields& fields = it.http->response.fields;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    if (!http::iequals(name, "set-cookie")) continue;
    // With a key without the attributes (Path, Expires ...).
    add_cookie(test.key.empty() ? value : value.substr(0, value.find(';')), test, values);
  }
}

const http::Fields& request_fields(const Subject& it) {
  return it.http->request.fields;
}
const http::Fields& response_fields(const Subject& it) {
  return it.http->response.fields;
}

template <auto... sides>
void headers(Subject& it, const Test& test, Values& values) {
  if (it.http != nullptr) (add_fields(sides(it), test, values), ...);
}

template <auto... sides>
void content_type(Subject& it, const Test&, Values& values) {
  if (it.http != nullptr) (values.known(sides(it).find("content-type")), ...);
}

std::optional<std::uint64_t> request_bytes(const Subject& it) {
  if (it.http != nullptr) return it.http->request.body_bytes;
  return it.tcp != nullptr ? it.tcp->request_bytes : it.dns->request_bytes;
}
std::optional<std::uint64_t> response_bytes(const Subject& it) {
  if (it.http != nullptr) return it.http->response.body_bytes;
  return it.tcp != nullptr ? it.tcp->response_bytes : it.dns->response_bytes;
}

template <auto... sides>
void bytes(Subject& it, const Test&, Values& values) {
  const bool any = (sides(it).has_value() || ...);
  if (any) values.number((static_cast<double>(sides(it).value_or(0)) + ...));
}

/// As mitmproxy has it; case counts.
bool is_asset(std::string_view content_type) {
  for (const std::string_view part :
       {"text/javascript", "application/x-javascript", "application/javascript", "text/css",
        "image/", "font/", "application/font"})
    if (content_type.find(part) != content_type.npos) return true;
  return false;
}

const std::array kFields{
    Field{.name = "url",
          .letter = "u",
          .kinds = kHttp | kDns,
          .settled = Settled::at_start,
          .help = "URL (of DNS the name that was asked for)",
          .example = "~u /api/v[12]/",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.http != nullptr) values.known(it.http->url);
                if (it.dns != nullptr) values.known(it.dns->name);
              },
          .columns = {flow, "flow.url"}},
    Field{.name = "scheme",
          .kinds = kHttp,
          .settled = Settled::at_start,
          .help = "scheme of the URL",
          .example = "scheme == https",
          .get = url_part<&UrlParts::scheme>,
          .columns = {flow, "osproxy_url_scheme(" OSPROXY_HTTP_URL ")"},
          .candidates = "http https"},
    Field{.name = "path",
          .kinds = kHttp,
          .settled = Settled::at_start,
          .help = "path of the URL",
          .example = "path startswith /api/",
          .get = url_part<&UrlParts::path>,
          .columns = {flow, "osproxy_url_path(" OSPROXY_HTTP_URL ")"}},
    Field{.name = "query",
          .keyed = Keyed::optional,
          .kinds = kHttp,
          .settled = Settled::at_start,
          .help = "query of the URL, or the value of one of its parameters",
          .example = "query[\"page\"] == 2",
          .get =
              [](Subject& it, const Test& test, Values& values) {
                if (it.http != nullptr) add_query(url_parts(it.http->url).query, test, values);
              },
          .columns = {flow, "osproxy_url_query(" OSPROXY_HTTP_URL ")", {}, add_query}},
    Field{.name = "method",
          .letter = "m",
          .kinds = kHttp,
          .settled = Settled::at_start,
          .help = "method of the request",
          .example = "method in {POST, PUT}",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.http != nullptr) values.known(it.http->request.method);
              },
          .columns = {flow, "CASE flow.type WHEN 'http' THEN flow.method END"},
          .candidates = "GET POST PUT DELETE PATCH HEAD OPTIONS CONNECT"},
    Field{.name = "status",
          .letter = "c",
          .type = status,
          .kinds = kHttp,
          .settled = Settled::with_response,
          .help = "status of the response",
          .example = "~c 5xx",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.http != nullptr && it.http->response.status != 0)
                  values.number(it.http->response.status);
              },
          .columns = {flow, "flow.status"},
          .candidates = "2xx 3xx 4xx 5xx 200 304 401 403 404 500 502"},
    Field{.name = "http.version",
          .aliases = "version",
          .kinds = kHttp,
          .settled = Settled::with_response,
          .help = "HTTP version of the request",
          .example = "http.version == 2",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.http != nullptr) values.known(it.http->request.version);
              },
          .columns = {flow, "CASE flow.type WHEN 'http' THEN flow.version END"},
          .candidates = "1.0 1.1 2"},
    Field{.name = "header",
          .letter = "h",
          .keyed = Keyed::optional,
          .scan = Scan::lines,
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::with_response,
          .help = "header field of the request or the response (\"Name: value\"), or the value of "
                  "one",
          .example = "~h \"^x-request-id:\"",
          .get = headers<request_fields, response_fields>},
    Field{.name = "req.header",
          .aliases = "req.headers",
          .letter = "hq",
          .keyed = Keyed::optional,
          .scan = Scan::lines,
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::at_start,
          .help = "header field of the request, or the value of one",
          .example = "req.header[\"user-agent\"] contains curl",
          .get = headers<request_fields>},
    Field{.name = "resp.header",
          .aliases = "resp.headers",
          .letter = "hs",
          .keyed = Keyed::optional,
          .scan = Scan::lines,
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::with_response,
          .help = "header field of the response, or the value of one",
          .example = "resp.header[\"cache-control\"] != no-store",
          .get = headers<response_fields>},
    Field{.name = "req.cookie",
          .keyed = Keyed::optional,
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::at_start,
          .help = "cookie that was sent (\"name=value\"), or the value of one",
          .example = "req.cookie[\"session\"] startswith a1",
          .get = request_cookies},
    Field{.name = "resp.setcookie",
          .keyed = Keyed::optional,
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::with_response,
          .help = "cookie that was set, with its attributes, or the value of one",
          .example = "resp.setcookie contains httponly",
          .get = response_cookies},
    Field{.name = "content_type",
          .letter = "t",
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::with_response,
          .help = "Content-Type of the request or the response",
          .example = "~t json",
          .get = content_type<request_fields, response_fields>},
    Field{.name = "req.type",
          .letter = "tq",
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::at_start,
          .help = "Content-Type of the request",
          .example = "~tq form",
          .get = content_type<request_fields>},
    Field{.name = "resp.type",
          .letter = "ts",
          .kinds = kHttp,
          .settled = Settled::with_response,
          .help = "Content-Type of the response",
          .example = "~ts html",
          .get = content_type<response_fields>,
          .columns = {flow, "flow.content_type"},
          .candidates = "application/json text/html text/plain image/png"},
    Field{.name = "asset",
          .letter = "a",
          .type = flag,
          .kinds = kHttp,
          .settled = Settled::with_response,
          .help = "has a script, style sheet, image or font as response",
          .example = "!~a",
          .get =
              [](Subject& it, const Test&, Values& values) {
                values.flag(it.http != nullptr &&
                            is_asset(it.http->response.fields.find("content-type")));
              },
          .columns = {flow,
                      "(instr(flow.content_type, 'text/javascript')"
                      " OR instr(flow.content_type, 'application/x-javascript')"
                      " OR instr(flow.content_type, 'application/javascript')"
                      " OR instr(flow.content_type, 'text/css')"
                      " OR instr(flow.content_type, 'image/')"
                      " OR instr(flow.content_type, 'font/')"
                      " OR instr(flow.content_type, 'application/font'))"}},
    Field{.name = "resp.encoding",
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::with_response,
          .help = "Content-Encoding of the response",
          .example = "resp.encoding == br",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.http != nullptr)
                  values.known(it.http->response.fields.find("content-encoding"));
              },
          .candidates = "gzip br zstd deflate"},
    Field{.name = "req.size",
          .type = size,
          .help = "bytes that were sent; HTTP: of the body, on the wire",
          .example = "req.size > 1M",
          .get = bytes<request_bytes>,
          .columns = {flow, "flow.request_bytes"}},
    Field{.name = "resp.size",
          .type = size,
          .help = "bytes that were received; HTTP: of the body, on the wire",
          .example = "resp.size > 10k",
          .get = bytes<response_bytes>,
          .columns = {flow, "flow.response_bytes"}},
    Field{.name = "size",
          .letter = "size",
          .type = size,
          .help = "bytes in both directions",
          .example = "~size >1M",
          .get = bytes<request_bytes, response_bytes>,
          .columns = {flow,
                      "CASE WHEN coalesce(flow.request_bytes, flow.response_bytes) IS NOT NULL"
                      " THEN ifnull(flow.request_bytes, 0) + ifnull(flow.response_bytes, 0) END"}},
    Field{.name = "duration",
          .letter = "dur",
          .type = duration,
          .help = "time from the beginning to the end",
          .example = "duration > 300ms",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.facts.duration) values.number(as_number(*it.facts.duration));
              },
          .columns = {flow, "flow.duration"}},
    Field{.name = "ttfb",
          .type = duration,
          .kinds = kHttp,
          .help = "time to the first byte of the response",
          .example = "ttfb > 1s",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.http != nullptr && it.http->response.began)
                  values.number(as_number(*it.http->response.began));
              },
          .columns = {flow, "flow.response_began"}},
    Field{.name = "time",
          .aliases = "since",
          .letter = "since",
          .type = time,
          .settled = Settled::at_start,
          .help = "time at which the flow began (since T: at or after T)",
          .example = "since 10m",
          .get =
              [](Subject& it, const Test&, Values& values) {
                values.number(as_number(std::chrono::duration_cast<std::chrono::microseconds>(
                    it.facts.began.time_since_epoch())));
              },
          .columns = {flow, "flow.began"}},
};

#undef OSPROXY_HTTP_URL

}  // namespace

std::span<const Field> http_fields() {
  return kFields;
}

}  // namespace mitm::query
