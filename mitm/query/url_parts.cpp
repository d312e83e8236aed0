// URLs taken apart.
#include "mitm/query/url_parts.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/ascii.h"

namespace mitm::query {
namespace {

/// Below a country's domain: where others register theirs.
constexpr std::array<std::string_view, 12> kRegistries{"ac", "co", "com", "edu", "gob", "gov",
                                                       "go", "ne", "net", "or",  "org", "mil"};

bool is_address(std::string_view host) {
  return host.find(':') != host.npos || host.find_first_not_of("0123456789.") == host.npos;
}

std::string_view host_of(std::string_view authority) {
  authority = authority.substr(authority.rfind('@') + 1);
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    return authority.substr(1, end == authority.npos ? end : end - 1);
  }
  return authority.substr(0, authority.find(':'));
}

}  // namespace

UrlParts url_parts(std::string_view url) {
  UrlParts parts;
  url = url.substr(0, url.find('#'));
  const auto question = url.find('?');
  if (question != url.npos) {
    parts.has_query = true;
    parts.query = url.substr(question + 1);
    url = url.substr(0, question);
  }
  const auto colon = url.find("://");
  if (colon != url.npos) {
    parts.scheme = url.substr(0, colon);
    url.remove_prefix(colon + 3);
  }
  const auto slash = std::min(url.find('/'), url.size());
  parts.host = host_of(url.substr(0, slash));
  parts.path = url.substr(slash);
  if (parts.path.empty() && !parts.scheme.empty()) parts.path = "/";
  return parts;
}

std::string_view domain_of(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  if (is_address(host)) return {};
  const auto last = host.rfind('.');
  if (last == host.npos || last == 0) return {};
  const auto second = host.rfind('.', last - 1);
  if (second == host.npos) return host;
  const auto label = base::lowercase(host.substr(second + 1, last - second - 1));
  const bool country = host.size() - last - 1 == 2;
  if (!country || second == 0 || std::ranges::find(kRegistries, label) == kRegistries.end())
    return host.substr(second + 1);
  return host.substr(host.rfind('.', second - 1) + 1);
}

std::string form_decoded(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    unsigned byte = 0;
    const auto digits = text.front() == '%' ? text.substr(1, 2) : std::string_view();
    const char* const end = digits.data() + digits.size();
    const bool coded =
        digits.size() == 2 && std::from_chars(digits.data(), end, byte, 16).ptr == end;
    const char plain = text.front() == '+' ? ' ' : text.front();
    out += coded ? static_cast<char>(byte) : plain;
    text.remove_prefix(coded ? 3 : 1);
  }
  return out;
}

}  // namespace mitm::query
