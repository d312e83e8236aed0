// The comparison runs for each connection and rule: addresses are parsed only where there may be
// one.
#include "base/host_pattern.h"

#include <algorithm>
#include <optional>

#include "base/ascii.h"
#include "base/network.h"
#include "base/text.h"

namespace base {
namespace {

constexpr std::size_t kMaxName = 253;  // RFC 1035, in text form

std::string_view without_dot(std::string_view name) {
  return name.ends_with('.') ? name.substr(0, name.size() - 1) : name;
}

std::string_view without_brackets(std::string_view text) {
  const bool bracketed = text.size() > 2 && text.front() == '[' && text.back() == ']';
  return bracketed ? text.substr(1, text.size() - 2) : text;
}

std::optional<Address> address_in(std::string_view text) {
  // Most hosts are names: the parser of addresses is asked only about what can be one.
  const bool possible =
      text.find(':') != text.npos || (!text.empty() && text.back() >= '0' && text.back() <= '9');
  if (!possible) return std::nullopt;
  boost::system::error_code ec;
  const auto address = boost::asio::ip::make_address(std::string(without_brackets(text)), ec);
  if (ec) return std::nullopt;
  return unmapped(address);
}

bool is_label(std::string_view label) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !label.empty() && label.size() <= 63 && std::ranges::all_of(label, allowed);
}

/// Dots between labels; `name` is in lower case.
bool is_host_name(std::string_view name) {
  if (name.size() > kMaxName) return false;
  for (;;) {
    const auto dot = name.find('.');
    if (!is_label(name.substr(0, dot))) return false;
    if (dot == name.npos) return true;
    name.remove_prefix(dot + 1);
  }
}

}  // namespace

Result<std::string> parse_host_pattern(std::string_view text) {
  if (const auto address = address_in(text)) return address->to_string();
  const std::string pattern = lowercase(without_dot(text));
  const bool wildcard = pattern.starts_with("*.");
  if (is_host_name(std::string_view(pattern).substr(wildcard ? 2 : 0))) return pattern;
  return failure(
      "'{}' is not a host; expected a name, *.name for all below it, or an address, without a "
      "port; for example example.org, *.example.org, 192.0.2.1",
      printable(text.substr(0, kMaxName)));
}

bool host_matches(std::string_view pattern, std::string_view host) {
  pattern = without_dot(pattern);
  host = without_dot(host);
  if (host.empty()) return false;
  if (const auto address = address_in(host)) return address_in(pattern) == address;
  if (!pattern.starts_with("*.")) return iequals(pattern, host);
  const auto suffix = pattern.substr(1);
  return host.size() > suffix.size() && iequals(suffix, host.substr(host.size() - suffix.size()));
}

}  // namespace base
