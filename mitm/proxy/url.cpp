#include "mitm/proxy/url.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <boost/asio/ip/address.hpp>

#include "base/ascii.h"
#include "base/hex.h"
#include "base/text.h"

namespace mitm::proxy {
namespace {

using base::failure;
using base::Result;

constexpr std::size_t kMaxUrl = 1024;
constexpr std::size_t kMaxCredential = 255;
constexpr std::size_t kMaxHost = 253;
constexpr std::string_view kExpected =
    "expected a URL such as http://proxy.example:3128, https://USER:PASSWORD@HOST:PORT, "
    "socks5://HOST:PORT or socks5h://HOST:PORT (the proxy resolves names), or direct";

struct Scheme {
  std::string_view name;
  Proxy::Kind kind;
  bool remote_names;
};
constexpr Scheme kSchemes[] = {{"http", Proxy::Kind::http, false},
                               {"https", Proxy::Kind::https, false},
                               {"socks5", Proxy::Kind::socks5, false},
                               {"socks5h", Proxy::Kind::socks5, true}};

base::Error unusable(std::string_view why) {
  return failure("{}; {}", why, kExpected);
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? base::hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? base::hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

Result<Proxy::Credentials> parse_credentials(std::string_view text) {
  const auto colon = text.find(':');
  auto user = percent_decoded(text.substr(0, colon));
  auto password = percent_decoded(colon == text.npos ? std::string_view{} : text.substr(colon + 1));
  if (!user || !password)
    return unusable("a % in user or password is not followed by two hexadecimal digits");
  if (user->empty()) return unusable("there is no user before the @");
  if (user->size() > kMaxCredential || password->size() > kMaxCredential)
    return unusable("user or password is longer than 255 bytes");
  if (user->find(':') != user->npos) return unusable("the user has a colon in it");
  return Proxy::Credentials{std::move(*user), std::move(*password)};
}

bool is_host(std::string_view host) {
  const auto allowed = [](char c) {
    return base::is_letter(c) || base::is_digit(c) || c == '-' || c == '_' || c == '.';
  };
  return !host.empty() && host.size() <= kMaxHost && std::ranges::all_of(host, allowed);
}

/// HOST:PORT or [ADDRESS]:PORT.
Result<> parse_place(std::string_view text, Proxy& proxy) {
  const bool bracketed = text.starts_with('[');
  const auto end = bracketed ? text.find(']') : text.rfind(':');
  if (end == text.npos) return unusable("there is no port");
  const auto host = text.substr(bracketed ? 1 : 0, bracketed ? end - 1 : end);
  auto port = text.substr(end + (bracketed ? 1 : 0));
  if (!port.starts_with(':')) return unusable("there is no port");
  port.remove_prefix(1);
  if (bracketed) {
    boost::system::error_code bad;
    boost::asio::ip::make_address_v6(std::string{host}, bad);
    if (bad) return unusable("the brackets hold no IPv6 address");
  } else if (!is_host(host)) {
    return unusable("there is no host");
  }
  const auto [stop, error] = std::from_chars(port.data(), port.data() + port.size(), proxy.port);
  if (error != std::errc{} || stop != port.data() + port.size() || proxy.port == 0)
    return unusable("the port is no number from 1 to 65535");
  proxy.host = host;
  return {};
}

}  // namespace

std::string Proxy::label() const {
  const auto* scheme = std::ranges::find_if(kSchemes, [this](const Scheme& one) {
    return one.kind == kind && one.remote_names == remote_names;
  });
  const bool bracketed = host.find(':') != host.npos;
  return fmt::format("{}://{}{}{}:{}", scheme->name, bracketed ? "[" : "", host,
                     bracketed ? "]" : "", port);
}

Result<Proxy> parse_proxy(std::string_view url) {
  if (url.size() > kMaxUrl) return unusable("the URL is longer than 1024 bytes");
  const auto colon = url.find("://");
  if (colon == url.npos) return unusable("this is no URL");
  const auto* scheme = std::ranges::find(kSchemes, url.substr(0, colon), &Scheme::name);
  if (scheme == std::ranges::end(kSchemes)) {
    return unusable(fmt::format("'{}' is no kind of proxy",
                                base::printable(url.substr(0, std::min<std::size_t>(colon, 20)))));
  }
  Proxy proxy;
  proxy.kind = scheme->kind;
  proxy.remote_names = scheme->remote_names;
  auto rest = url.substr(colon + 3);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  // A password may have an @ of its own.
  if (const auto at = rest.rfind('@'); at != rest.npos) {
    auto credentials = parse_credentials(rest.substr(0, at));
    if (!credentials) return credentials.error();
    proxy.credentials = std::move(*credentials);
    rest.remove_prefix(at + 1);
  }
  if (auto placed = parse_place(rest, proxy); !placed) return placed.error();
  return proxy;
}

Result<std::optional<Proxy>> parse_upstream(std::string_view text) {
  if (text.empty() || text == "direct") return std::optional<Proxy>{};
  auto proxy = parse_proxy(text);
  if (!proxy) return proxy.error();
  return std::optional<Proxy>{std::move(*proxy)};
}

}  // namespace mitm::proxy
