// Where an upstream proxy is and how it is spoken to, as the user writes it: a URL.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace mitm::proxy {

struct Proxy {
  enum class Kind : std::uint8_t {
    http,   ///< CONNECT
    https,  ///< the same inside TLS
    socks5,
  };
  /// Neither is longer than 255 bytes (RFC 1929).
  struct Credentials {
    std::string user;
    std::string password;
  };

  Kind kind = Kind::http;
  bool remote_names = false;  ///< socks5h: the proxy gets the host's name and resolves it
  std::string host;           ///< name or address, without brackets
  std::uint16_t port = 0;
  std::optional<Credentials> credentials;

  /// "socks5://proxy.example:1080": without credentials.
  [[nodiscard]] std::string label() const;
};

/// "http://user:password@proxy.example:3128", https, socks5 or socks5h; user and password may be
/// percent-encoded. Errors say what is expected and show no credentials.
[[nodiscard]] base::Result<Proxy> parse_proxy(std::string_view url);

/// The same; none for "direct" and for "".
[[nodiscard]] base::Result<std::optional<Proxy>> parse_upstream(std::string_view text);

}  // namespace mitm::proxy
