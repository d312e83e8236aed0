// Clients send origin-form targets; a reader of flows wants a URL to click on.
#include "mitm/intercept/session/request_facts.h"

#include <algorithm>
#include <charconv>

namespace mitm::intercept {
namespace {

std::string_view without_port(std::string_view authority) {
  const auto colon = authority.rfind(':');
  const bool port = colon != authority.npos && authority.find(']', colon) == authority.npos &&
                    authority.find_first_not_of("0123456789", colon + 1) == authority.npos;
  return port ? authority.substr(0, colon) : authority;
}

/// `authority` with the port that the program has connected to, where it leaves that away and it is
/// not the usual one: otherwise nobody could find the server again by the URL.
std::string with_port(std::string_view authority, std::string_view scheme,
                      const FlowRecorder& recorder) {
  constexpr std::uint16_t kHttp = 80, kHttps = 443;
  const std::uint16_t usual = scheme == "https" ? kHttps : kHttp;
  const bool shown = recorder.port() == usual || without_port(authority) != authority;
  return shown ? std::string(authority) : fmt::format("{}:{}", authority, recorder.port());
}

/// Of a connection whose requests name no host.
std::string named_by_connection(const FlowRecorder& recorder) {
  const std::string name = recorder.server_name();
  return name.find(':') == name.npos ? name : '[' + name + ']';
}

bool is_origin_form(std::string_view target) {
  return target == "*" || target.starts_with('/');
}

std::string url_of(const http::Head& head, std::string_view scheme, const FlowRecorder& recorder) {
  if (head.method == "CONNECT" || !is_origin_form(head.target)) return head.target;
  const std::string_view host = head.fields.find("host");
  std::string url;
  url.reserve(scheme.size() + std::size("://:65535") + host.size() + head.target.size());
  url.append(scheme).append("://");
  url.append(with_port(host.empty() ? named_by_connection(recorder) : std::string(host), scheme,
                       recorder));
  return head.target == "*" ? url : url.append(head.target);
}

/// One connection to a proxy carries requests for many hosts; the first one's is what the
/// connection goes by. Within TLS that stays: it is what the server was asked for.
void name_host(std::string_view authority, flow::HttpFlow& flow) {
  const std::string_view host = without_port(authority);
  if (!host.empty() && (flow.host.empty() || !flow.connection->tls)) flow.host = host;
}

}  // namespace

std::uint16_t port_of(std::string_view authority) {
  const auto digits =
      authority.substr(std::min(without_port(authority).size() + 1, authority.size()));
  std::uint16_t port = 0;
  const auto error = std::from_chars(digits.data(), digits.data() + digits.size(), port).ec;
  return error == std::errc{} ? port : std::uint16_t{0};
}

void describe_request(http::Head& head, std::string_view scheme, const FlowRecorder& recorder,
                      flow::HttpFlow& flow) {
  const std::string_view host = head.fields.find("host");
  flow.url = url_of(head, scheme, recorder);
  name_host(host, flow);
  flow::Request& request = flow.request;
  request.authority = host;
  request.method = std::move(head.method);
  request.scheme = scheme;
  request.target = std::move(head.target);
  request.version = fmt::format("{}.{}", head.version / 10, head.version % 10);
  request.fields = std::move(head.fields);
  request.body_bytes = 0;
}

void describe_request(http::Http2Head& head, const FlowRecorder& recorder, flow::HttpFlow& flow) {
  const std::string_view host = head.authority.empty() ? head.fields.find("host") : head.authority;
  const bool tunnel = head.method == "CONNECT" && head.protocol.empty();
  if (tunnel) {
    flow.url = host;
  } else {
    const std::string authority = with_port(
        host.empty() ? named_by_connection(recorder) : std::string(host), head.scheme, recorder);
    flow.url = fmt::format("{}://{}{}", head.scheme, authority,
                           head.path == "*" ? std::string_view() : head.path);
  }
  name_host(host, flow);
  flow::Request& request = flow.request;
  request.authority = host;
  request.method = std::move(head.method);
  request.scheme = std::move(head.scheme);
  request.target = tunnel ? request.authority : std::move(head.path);
  request.version = "2";
  request.fields = std::move(head.fields);
  request.body_bytes = 0;
}

}  // namespace mitm::intercept
