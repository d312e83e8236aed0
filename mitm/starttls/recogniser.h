// Whether a plain connection is about to change to TLS, and where. Pure, sans I/O: bytes of both
// directions in, verdict out.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "mitm/starttls/machine.h"

namespace mitm::starttls {

/// Holds less than a kilobyte. A false "agreed" (a conversation that only looks like it) does no
/// harm: who acts on it looks whether the program's next bytes are a ClientHello.
class Recogniser {
 public:
  /// Who is still undecided after so many bytes, both directions together, never changes to TLS.
  static constexpr std::size_t kMostBytes = 64 << 10;

  /// `bytes` are about to be passed on. After never or agreed there is nothing more to feed.
  [[nodiscard]] Finding feed(From from, std::string_view bytes);

  /// "smtp", "imap", "pop3", "ftp", "ldap", "postgresql", "mysql"; once it is agreed on.
  [[nodiscard]] std::string_view protocol() const { return machine_->protocol(); }

 private:
  [[nodiscard]] Finding choose(From from, std::string_view bytes);

  std::unique_ptr<Machine> machine_;
  std::string first_;  ///< what was said before the protocol is known
  From speaker_ = From::server;
  std::size_t seen_ = 0;
};

}  // namespace mitm::starttls
