// The parts of an absolute URL, as formats want them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mitm::format {

struct UrlParts {
  std::string_view scheme;     ///< empty: it is no absolute URL
  std::string_view authority;  ///< host, or host:port
  std::string_view host;       ///< without the brackets of IPv6
  std::uint16_t port = 0;      ///< the scheme's usual one if none is named; 0: unknown
  std::string_view target;     ///< path and query; may be empty
};
/// Views into `url`. "host:port" (CONNECT) has an authority and no scheme.
[[nodiscard]] UrlParts split_url(std::string_view url);

/// "http", "ws": 80; "https", "wss": 443; else 0.
[[nodiscard]] std::uint16_t usual_port(std::string_view scheme);

/// `host` as a URL has it: IPv6 in brackets.
[[nodiscard]] std::string url_host(std::string_view host);

/// "scheme://AUTHORITY[:port]TARGET" where the port is not the usual one and not in `authority`
/// already. `target` "*" is left away.
[[nodiscard]] std::string make_url(std::string_view scheme, std::string_view authority,
                                   std::uint16_t port, std::string_view target);

}  // namespace mitm::format
