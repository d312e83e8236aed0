#include "mitm/format/url_parts.h"

#include <charconv>

#include <fmt/format.h>

#include "base/ascii.h"

namespace mitm::format {
namespace {

/// Where the ":port" of an authority begins; its size if there is none.
std::size_t port_begin(std::string_view authority) {
  const std::size_t colon = authority.rfind(':');
  if (colon == authority.npos || authority.find(']', colon) != authority.npos)
    return authority.size();
  const bool digits = authority.find_first_not_of("0123456789", colon + 1) == authority.npos;
  const bool bare_ipv6 = authority.find(':') != colon && !authority.starts_with('[');
  return digits && !bare_ipv6 ? colon : authority.size();
}

void split_authority(UrlParts& parts) {
  const std::string_view authority = parts.authority;
  const std::size_t colon = port_begin(authority);
  parts.host = authority.substr(0, colon);
  if (parts.host.size() > 2 && parts.host.front() == '[' && parts.host.back() == ']')
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  parts.port = usual_port(parts.scheme);
  if (colon + 1 >= authority.size()) return;
  std::uint16_t port = 0;
  const char* const end = authority.data() + authority.size();
  const auto error = std::from_chars(authority.data() + colon + 1, end, port).ec;
  if (error == std::errc{}) parts.port = port;
}

}  // namespace

UrlParts split_url(std::string_view url) {
  UrlParts parts;
  const std::size_t colon = url.find("://");
  const bool absolute =
      colon != url.npos && colon > 0 && url.substr(0, colon).find_first_of("/?#") == url.npos;
  if (absolute) {
    parts.scheme = url.substr(0, colon);
    url.remove_prefix(colon + 3);
  }
  parts.authority = url.substr(0, url.find_first_of("/?#"));
  parts.target = url.substr(parts.authority.size());
  split_authority(parts);
  return parts;
}

std::uint16_t usual_port(std::string_view scheme) {
  constexpr std::uint16_t kHttp = 80, kHttps = 443;
  if (base::iequals(scheme, "http") || base::iequals(scheme, "ws")) return kHttp;
  if (base::iequals(scheme, "https") || base::iequals(scheme, "wss")) return kHttps;
  return 0;
}

std::string url_host(std::string_view host) {
  if (host.find(':') == host.npos || host.starts_with('[')) return std::string(host);
  return fmt::format("[{}]", host);
}

std::string make_url(std::string_view scheme, std::string_view authority, std::uint16_t port,
                     std::string_view target) {
  std::string url = fmt::format("{}://{}", scheme, authority);
  const bool named = port_begin(authority) != authority.size();
  if (!named && port != 0 && port != usual_port(scheme)) url += fmt::format(":{}", port);
  return target == "*" ? url : url.append(target);
}

}  // namespace mitm::format
