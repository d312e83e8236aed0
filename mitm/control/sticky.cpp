#include "mitm/control/sticky.h"

#include <charconv>
#include <ctime>

#include "base/ascii.h"
#include "mitm/query/url_parts.h"

namespace mitm::control {
namespace {

std::uint16_t port_of(const flow::HttpFlow& flow) {
  return flow.connection ? flow.connection->server.port() : 0;
}

/// RFC 6265 section 5.1.3, and the domain itself with a dot before it.
bool domain_matches(std::string_view host, std::string_view domain) {
  if (domain.starts_with('.')) domain.remove_prefix(1);
  if (base::iequals(host, domain)) return true;
  return !domain.empty() && host.size() > domain.size() &&
         host[host.size() - domain.size() - 1] == '.' &&
         base::iequals(host.substr(host.size() - domain.size()), domain);
}

struct Attributes {
  std::optional<std::string> domain, path, expires, max_age;
};

Attributes attributes_of(std::string_view text) {
  Attributes found;
  while (!text.empty()) {
    const auto length = std::min(text.find(';'), text.size());
    const std::string_view one = base::trimmed(text.substr(0, length));
    text.remove_prefix(std::min(length + 1, text.size()));
    const auto equals = std::min(one.find('='), one.size());
    const std::string_view name = base::trimmed(one.substr(0, equals));
    const std::string value(base::trimmed(one.substr(std::min(equals + 1, one.size()))));
    if (base::iequals(name, "domain")) found.domain = value;
    if (base::iequals(name, "path")) found.path = value;
    if (base::iequals(name, "expires")) found.expires = value;
    if (base::iequals(name, "max-age")) found.max_age = value;
  }
  return found;
}

/// "Wed, 21 Oct 2015 07:28:00 GMT", also with dashes in the date.
std::optional<flow::Time> http_date(std::string text) {
  for (char& c : text)
    if (c == '-') c = ' ';
  std::tm parts{};
  if (::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S", &parts) == nullptr) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

bool is_expired(const Attributes& attributes, flow::Time now) {
  if (attributes.max_age) {
    long long seconds = 1;
    std::from_chars(attributes.max_age->data(),
                    attributes.max_age->data() + attributes.max_age->size(), seconds);
    return seconds <= 0;
  }
  if (!attributes.expires) return false;
  const auto date = http_date(*attributes.expires);
  return date && *date < now;
}

std::size_t bytes_of(const std::tuple<std::string, std::uint16_t, std::string>& place) {
  return std::get<0>(place).size() + std::get<2>(place).size();
}

}  // namespace

std::string host_of(const flow::HttpFlow& flow) {
  const auto host = query::url_parts(flow.url).host;
  return base::lowercase(host.empty() ? std::string_view(flow.host) : host);
}

void CookieJar::keep(const flow::HttpFlow& flow, flow::Time now) {
  const http::Fields& fields = flow.response.fields;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    if (http::iequals(name, "set-cookie")) keep(flow, value, now);
  }
}

void CookieJar::keep(const flow::HttpFlow& flow, std::string_view cookie, flow::Time now) {
  const auto end = std::min(cookie.find(';'), cookie.size());
  const std::string_view pair = base::trimmed(cookie.substr(0, end));
  const auto equals = pair.find('=');
  if (equals == pair.npos || equals == 0) return;
  const Attributes attributes = attributes_of(cookie.substr(end));
  const std::string host = host_of(flow);
  const std::string domain = attributes.domain.value_or(host);
  if (!domain_matches(host, domain)) return;
  Place place{domain, port_of(flow), attributes.path.value_or("/")};
  const std::string name(pair.substr(0, equals));
  const std::lock_guard lock(mutex_);
  if (is_expired(attributes, now)) {
    erase(place, name);
  } else {
    put(std::move(place), name, pair.substr(equals + 1));
  }
}

void CookieJar::put(Place place, const std::string& name, std::string_view value) {
  const std::size_t bytes = bytes_of(place) + name.size() + value.size();
  if (bytes > kLongestCookie) return;
  erase(place, name);
  if (size_ >= kMost || bytes_ + bytes > kLargestJar) return;
  places_[std::move(place)][name] = value;
  ++size_;
  bytes_ += bytes;
}

void CookieJar::erase(const Place& place, const std::string& name) {
  const auto found = places_.find(place);
  if (found == places_.end()) return;
  const auto cookie = found->second.find(name);
  if (cookie == found->second.end()) return;
  --size_;
  bytes_ -= bytes_of(place) + name.size() + cookie->second.size();
  found->second.erase(cookie);
  if (found->second.empty()) places_.erase(found);
}

std::string CookieJar::cookies_for(const flow::HttpFlow& flow) const {
  const std::string host = host_of(flow);
  const auto parts = query::url_parts(flow.url);
  std::string list;
  const std::lock_guard lock(mutex_);
  for (const auto& [place, cookies] : places_) {
    const auto& [domain, port, path] = place;
    if (port != port_of(flow) || !parts.path.starts_with(path) || !domain_matches(host, domain))
      continue;
    for (const auto& [name, value] : cookies) {
      constexpr std::size_t kSigns = 3;  // "; ="
      if (list.size() + name.size() + value.size() + kSigns > kLongestField) continue;
      list.append(list.empty() ? "" : "; ").append(name).append("=").append(value);
    }
  }
  return list;
}

void Credentials::keep(const std::string& host, std::string_view value) {
  const std::lock_guard lock(mutex_);
  const auto known = hosts_.find(host);
  const std::size_t before = known == hosts_.end() ? 0 : host.size() + known->second.size();
  const std::size_t after = bytes_ - before + host.size() + value.size();
  if (value.size() > kLongest || after > kLargestJar) return;
  if (known == hosts_.end() && hosts_.size() >= kMost) return;
  hosts_[host] = value;
  bytes_ = after;
}

std::string Credentials::credentials_for(const std::string& host) const {
  const std::lock_guard lock(mutex_);
  const auto found = hosts_.find(host);
  return found == hosts_.end() ? std::string() : found->second;
}

}  // namespace mitm::control
