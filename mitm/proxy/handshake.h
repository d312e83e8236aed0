// What is said to an upstream proxy before it passes bytes on: HTTP CONNECT (RFC 9110
// section 9.3.6, Basic authentication), SOCKS5 (RFC 1928, 1929). Sans I/O: bytes in, bytes out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/network.h"
#include "mitm/proxy/url.h"

namespace mitm::proxy {

/// What the proxy is to connect to.
struct Target {
  base::Endpoint address;
  std::string name;  ///< told instead of the address; empty: none is known
};

class Handshake {
 public:
  /// An answer's head that is longer is refused.
  static constexpr std::size_t kMaxHead = 16 << 10;

  /// Has the first thing to send. `target.name` counts for proxies with remote names only, and when
  /// it fits.
  Handshake(const Proxy& proxy, const Target& target);

  enum class What : std::uint8_t {
    more,     ///< all of the bytes were taken, more are needed
    send,     ///< to_send() has what is to be said next
    open,     ///< the bytes that were not taken are the server's
    refused,  ///< see why() and error(); final
  };
  struct Step {
    What what = What::more;
    std::size_t used = 0;  ///< of the bytes
  };
  /// `bytes`: what the proxy has sent and was not taken yet. Not to be called after open or
  /// refused.
  [[nodiscard]] Step take(std::string_view bytes);

  [[nodiscard]] const std::string& to_send() const { return to_send_; }
  /// "407 Proxy Authentication Required; ...": printable, without credentials.
  [[nodiscard]] const std::string& why() const { return why_; }
  /// errno that tells the program the same.
  [[nodiscard]] int error() const { return error_; }
  /// "one.test:443"
  [[nodiscard]] std::string target() const;

 private:
  enum class State : std::uint8_t { http_head, socks_method, socks_password, socks_reply };

  [[nodiscard]] bool whole() const;
  [[nodiscard]] What react();
  [[nodiscard]] What react_to_head();
  [[nodiscard]] What react_to_method();
  [[nodiscard]] What react_to_reply();
  [[nodiscard]] What refuse(std::string why, int error);
  [[nodiscard]] std::string socks_request() const;

  Proxy proxy_;
  Target target_;
  State state_;
  std::string heard_;  ///< of the message that is awaited
  std::string to_send_;
  std::string why_;
  int error_ = 0;
};

}  // namespace mitm::proxy
