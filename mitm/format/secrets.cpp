// By names, not by what values look like: a rule that its reader can check.
#include "mitm/format/secrets.h"

#include <algorithm>

#include "base/ascii.h"

namespace mitm::format {
namespace {

/// Letters and digits only, in lower case: "X-Api-Key", "api_key" and "apiKey" are one name.
std::string plain_name(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (base::is_letter(c) || base::is_digit(c)) plain += base::lower(c);
  }
  return plain;
}

/// "Bearer abc" becomes "Bearer [masked]".
std::string mask_credentials(std::string_view value) {
  const std::size_t space = value.find(' ');
  if (space == value.npos) return std::string(kMasked);
  return std::string(value.substr(0, space + 1)).append(kMasked);
}

/// "a=b" becomes "a=[masked]".
void append_masked_pair(std::string& out, std::string_view pair) {
  const std::size_t equals = pair.find('=');
  if (equals == pair.npos) {
    out += kMasked;
  } else {
    out.append(pair.substr(0, equals + 1)).append(kMasked);
  }
}

std::string mask_cookies(std::string_view value) {
  std::string out;
  while (!value.empty()) {
    const std::string_view cookie = value.substr(0, value.find(';'));
    value.remove_prefix(std::min(cookie.size() + 1, value.size()));
    if (!out.empty()) out += "; ";
    append_masked_pair(out, base::trimmed(cookie));
  }
  return out;
}

std::string mask_set_cookie(std::string_view value) {
  const std::size_t end = std::min(value.find(';'), value.size());
  std::string out;
  append_masked_pair(out, value.substr(0, end));
  return out.append(value.substr(end));
}

/// Of "user:password@host" the user stays.
void append_masked_authority(std::string& out, std::string_view authority) {
  const std::size_t at = authority.rfind('@');
  const std::size_t colon = authority.substr(0, at == authority.npos ? 0 : at).find(':');
  if (at == authority.npos || colon == authority.npos) {
    out += authority;
    return;
  }
  out.append(authority.substr(0, colon + 1)).append(kMasked).append(authority.substr(at));
}

}  // namespace

bool is_secret_name(std::string_view name) {
  const std::string plain = plain_name(name);
  constexpr std::string_view kWhole[] = {"key",  "pw",   "pwd",  "pass",    "sig",   "sid",
                                         "jwt",  "code", "auth", "session", "state", "nonce",
                                         "hmac", "pin",  "otp",  "totp",    "cvc",   "cvv"};
  constexpr std::string_view kParts[] = {"token",         "secret",     "password",  "passwd",
                                         "apikey",        "accesskey",  "authkey",   "privatekey",
                                         "signature",     "credential", "sessionid", "assertion",
                                         "authorization", "csrf",       "xsrf"};
  const auto is_whole = [&](std::string_view one) { return plain == one; };
  const auto is_part = [&](std::string_view one) { return plain.find(one) != plain.npos; };
  return std::any_of(std::begin(kWhole), std::end(kWhole), is_whole) ||
         std::any_of(std::begin(kParts), std::end(kParts), is_part);
}

std::string mask_parameters(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    if (is_secret_name(pair.substr(0, pair.find('='))) && pair.find('=') != pair.npos) {
      append_masked_pair(out, pair);
    } else {
      out += pair;
    }
    text.remove_prefix(pair.size());
    if (text.empty()) break;
    out += '&';
    text.remove_prefix(1);
  }
  return out;
}

std::string mask_url(std::string_view url) {
  std::string out;
  const std::size_t colon = url.find("://");
  if (colon != url.npos && url.substr(0, colon).find_first_of("?#/") == url.npos) {
    out.append(url.substr(0, colon + 3));
    url.remove_prefix(colon + 3);
    const std::string_view authority = url.substr(0, url.find_first_of("/?#"));
    append_masked_authority(out, authority);
    url.remove_prefix(authority.size());
  }
  const std::size_t query = std::min(url.find('?'), url.size());
  const std::size_t fragment = std::min(url.find('#'), url.size());
  if (query < fragment) {
    out.append(url.substr(0, query + 1));
    out.append(mask_parameters(url.substr(query + 1, fragment - query - 1)));
  } else {
    out.append(url.substr(0, fragment));
  }
  if (fragment == url.size()) return out;
  return out.append("#").append(mask_parameters(url.substr(fragment + 1)));
}

std::string mask_field(std::string_view name, std::string_view value) {
  if (base::iequals(name, "cookie")) return mask_cookies(value);
  if (base::iequals(name, "set-cookie")) return mask_set_cookie(value);
  if (base::iequals(name, "authorization") || base::iequals(name, "proxy-authorization"))
    return mask_credentials(value);
  for (const std::string_view url :
       {"referer", "location", "content-location", "refresh", "link", "origin", ":path"}) {
    if (base::iequals(name, url)) return mask_url(value);
  }
  const bool harmless = base::iequals(name, "access-control-allow-credentials") ||
                        base::iequals(name, "sec-websocket-key");
  if (!harmless && is_secret_name(name)) return std::string(kMasked);
  return std::string(value);
}

}  // namespace mitm::format
