#include "mitm/cli/who_what.h"

#include <algorithm>
#include <array>

#include "base/host_pattern.h"
#include "mitm/cli/error_codes.h"

namespace mitm::cli {

using base::Result;
using procmap::SocketEnd;

HostPort host_and_port(const std::string& text) {
  const auto colon = text.rfind(':');
  const auto port = colon == text.npos
                        ? Result<SocketEnd>{SocketEnd{}}
                        : procmap::parse_socket_end(std::string_view(text).substr(colon));
  if (!port || port->port == 0) return {text, 0};
  return {text.substr(0, colon), port->port};
}

bool is_filter_only(std::string_view word) {
  constexpr std::array<std::string_view, 7> kSigns{"!",     "=",      "/",      "~",
                                                   "user:", "group:", "cgroup:"};
  return std::ranges::any_of(kSigns, [&](std::string_view sign) { return word.starts_with(sign); });
}

Result<> check_url(const std::string& word) {
  if (word.find("://") == word.npos || is_filter_only(word)) return {};
  const auto host = base::parse_host_pattern(word);
  return host ? Result<>{} : base::Error{host.error().text, kUsageError};
}

Result<What> parse_what(const std::string& word) {
  What what;
  if (word.empty()) return what;
  auto filter = divert::ProgramFilter::parse(word);
  if (const auto end = procmap::parse_socket_end(word)) {
    what.end = *end;
    // A number is a port or a process.
    if (!end->address && !word.starts_with(':') && filter) what.filter = *filter;
    return what;
  }
  HostPort host = host_and_port(word);
  const auto pattern = base::parse_host_pattern(host.host);
  if (!is_filter_only(word) && pattern) what.host = {*pattern, host.port};
  if (what.host.port != 0) return what;
  if (!filter) return base::Error{filter.error().text, kUsageError};
  what.filter = *filter;
  return what;
}

}  // namespace mitm::cli
