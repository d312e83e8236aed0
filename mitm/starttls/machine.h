// One protocol that can change to TLS in the middle, as the bystander sees it who hears both sides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace mitm::starttls {

enum class From : std::uint8_t { program, server };

struct Finding {
  enum class Verdict : std::uint8_t {
    undecided,
    never,   ///< not this protocol, or too late for TLS, or TLS that we must not touch
    agreed,  ///< the program's next byte is the first of TLS
  };
  Verdict verdict = Verdict::undecided;
  std::size_t bytes = 0;  ///< agreed: how many of the bytes just fed are still plain
};

inline constexpr Finding kNever{Finding::Verdict::never, 0};

/// The first byte of every TLS handshake.
inline constexpr char kHandshakeRecord = 0x16;

/// Fed with all bytes of both directions in the order in which they are passed on; not asked again
/// after never or agreed. Two rules hold for all of them:
///
/// - What the program sends behind its request, before the answer, is plain and the server's to
/// judge: it is
///   passed on before the answer, never into TLS. If it is TLS already, only the server can
///   take part: never.
/// - What the server sends behind its yes, before TLS, is not understood: never.
class Machine {
 public:
  virtual ~Machine() = default;
  [[nodiscard]] virtual Finding feed(From from, std::string_view bytes) = 0;
  [[nodiscard]] virtual std::string_view protocol() const = 0;
};

std::unique_ptr<Machine> make_reply_codes();  ///< SMTP (RFC 3207), LMTP; FTP (RFC 4217)
std::unique_ptr<Machine> make_imap();         ///< RFC 9051 section 6.2.1
std::unique_ptr<Machine> make_pop3();         ///< RFC 2595 section 4
std::unique_ptr<Machine> make_ldap();         ///< RFC 4511 section 4.14
std::unique_ptr<Machine>
make_postgresql();  ///< PostgreSQL documentation, 55.2.10 SSL Session Encryption
std::unique_ptr<Machine> make_mysql();  ///< MySQL's Protocol::SSLRequest; MariaDB the same

}  // namespace mitm::starttls
