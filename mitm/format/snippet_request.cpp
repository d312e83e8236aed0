#include "mitm/format/snippet_request.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/text.h"
#include "mitm/format/url_parts.h"

namespace mitm::format {
namespace {

/// Of one connection, or made by the tool: a second one would be wrong.
bool is_left_out(std::string_view name) {
  constexpr std::string_view kNames[] = {"content-length",
                                         "transfer-encoding",
                                         "connection",
                                         "keep-alive",
                                         "proxy-connection",
                                         "upgrade",
                                         "http2-settings",
                                         "te",
                                         "trailer",
                                         "expect",
                                         "proxy-authorization"};
  return name.starts_with(':') || std::any_of(std::begin(kNames), std::end(kNames),
                                              [&](auto one) { return base::iequals(one, name); });
}

/// A field that is no field could become two.
bool is_sound(std::string_view name, std::string_view value) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  const auto is_token = [&](char c) {
    return base::is_letter(c) || base::is_digit(c) || kMarks.find(c) != kMarks.npos;
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), is_token) &&
         value.find_first_of(std::string_view("\0\r\n", 3)) == value.npos;
}

/// Servers see what follows; a space or a line end would end the request line.
bool is_sound_target(std::string_view target) {
  return std::all_of(target.begin(), target.end(),
                     [](char c) { return static_cast<unsigned char>(c) > ' ' && c != '\x7f'; });
}

/// Upper case stays, and what has to be escaped.
bool changes_code(std::string_view code) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (code.size() < 2) return true;
  const std::size_t high = kDigits.find(code[0]), low = kDigits.find(code[1]);
  if (high == kDigits.npos || low == kDigits.npos) return true;
  const char c = static_cast<char>(high * kDigits.size() + low);
  return base::is_letter(c) || base::is_digit(c) ||
         std::string_view("-._~").find(c) != std::string_view::npos;
}

/// Whether the flow was recorded, or its run killed, while more of the request's body was to come.
bool is_under_way(const flow::Flow& flow) {
  const flow::Request& request = flow.http()->request;
  if (flow.state == flow::Flow::State::ended || request.ended) return false;
  const std::string_view length = request.fields.find("content-length");
  return request.body_bytes.value_or(0) > 0 || (!length.empty() && length != "0") ||
         !request.fields.find("transfer-encoding").empty();
}

}  // namespace

base::Result<> check_body(const flow::Flow& flow) {
  const flow::Request& request = flow.http()->request;
  if (request.body.is_cut())
    return base::failure("only the first {} bytes of the request's body are recorded",
                         request.body.size());
  if (request.body.empty() && request.body_bytes.value_or(0) > 0)
    return base::failure("the request's body of {} bytes is not recorded", *request.body_bytes);
  if (is_under_way(flow)) return base::failure("the request's body had not ended");
  return {};
}

bool SnippetRequest::has(std::string_view name) const {
  return std::any_of(fields.begin(), fields.end(),
                     [&](const Field& field) { return base::iequals(field.first, name); });
}

std::string_view SnippetRequest::find(std::string_view name) const {
  for (const Field& field : fields) {
    if (base::iequals(field.first, name)) return field.second;
  }
  return {};
}

base::Result<SnippetRequest> snippet_request(const flow::Flow& flow) {
  if (flow.http() == nullptr)
    return base::failure("a flow of type {} has no request that could be sent", flow.type());
  const flow::HttpFlow& http = *flow.http();
  const flow::Request& recorded = http.request;
  if (recorded.method == "CONNECT")
    return base::failure("CONNECT opens a tunnel: there is nothing to send");
  if (auto whole = check_body(flow); !whole) return whole.error();
  const UrlParts url = split_url(http.url);
  const bool web = url.scheme == "http" || url.scheme == "https";
  if (!web || url.host.empty() || !is_sound_target(http.url))
    return base::failure("'{}' is no URL that could be asked", base::printable(http.url));
  if (!is_sound(recorded.method, "")) return base::failure("the method is malformed");
  SnippetRequest request;
  request.method = recorded.method;
  request.target = url.target.substr(0, url.target.find('#'));
  if (!request.target.starts_with('/')) request.target.insert(0, "/");
  request.url = fmt::format("{}://{}{}", url.scheme, url.authority, request.target);
  request.http2 = recorded.version == "2";
  request.body = recorded.body.text();
  for (std::size_t i = 0; i < recorded.fields.size(); ++i) {
    const auto [name, value] = recorded.fields[i];
    if (is_left_out(name) || (base::iequals(name, "host") && value == url.authority)) continue;
    if (!is_sound(name, value))
      return base::failure("the field '{}' is malformed", base::printable(name));
    request.fields.emplace_back(name, value);
  }
  const base::Address address = base::unmapped(http.connection->server.address());
  boost::system::error_code no_address;
  boost::asio::ip::make_address(std::string(url.host), no_address);
  const bool direct = http.connection->server.port() == url.port && !address.is_unspecified();
  if (no_address && direct)
    request.resolve = fmt::format("{}:{}:{}", url.host, url.port, url_host(address.to_string()));
  return request;
}

base::Result<> check_target(const SnippetRequest& request, const TargetRules& rules) {
  const std::string_view target = request.target;
  for (std::size_t i = 0; i < target.size(); ++i) {
    const char c = target[i];
    if (static_cast<unsigned char>(c) >= 0x80 || rules.escaped.find(c) != rules.escaped.npos)
      return base::failure("it would escape '{}' in the URL", base::printable({&c, 1}));
    if (c != '%' || !rules.hex_changed) continue;
    const std::string_view code = target.substr(i + 1, 2);
    if (changes_code(code)) return base::failure("it would change '%{}' in the URL", code);
  }
  if (!rules.dots_removed) return {};
  const std::string path = base::lowercase(target.substr(0, target.find('?'))) + '/';
  for (const std::string_view dots : {"/./", "/../", "/%2e/", "/%2e%2e/", "/.%2e/", "/%2e./"}) {
    if (path.find(dots) != path.npos) return base::failure("it would remove dots from the path");
  }
  return {};
}

base::Result<> check_once(const SnippetRequest& request) {
  const auto& fields = request.fields;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      if (base::iequals(fields[i].first, fields[k].first))
        return base::failure("it sends a field once, and {} comes twice", fields[i].first);
    }
  }
  return {};
}

}  // namespace mitm::format
