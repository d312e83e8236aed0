// TLS towards the programs: which key their hello can use, which ALPN they are given, why they
// refuse us.
#pragma once

#include <string>

#include "mitm/intercept/context/pinning_cache.h"
#include "mitm/intercept/wire/side.h"
#include "mitm/sniff/sniffer.h"
#include "mitm/tls/leaf.h"

namespace mitm::intercept {

/// Why a connection that begins with this hello cannot be intercepted and passes; empty: it can.
std::string_view reason_to_pass(const sniff::ClientHello& hello);

/// Whether a browser sent this hello: they, and next to nothing else, put values without a meaning
/// into it (GREASE, RFC 8701; encrypted_client_hello). Only they show an error page to a person.
bool is_from_browser(const sniff::ClientHello& hello);

/// RSA only when the hello rules out ECDSA on P-256.
tls::KeyType key_type_for(const sniff::ClientHello& hello);

/// Answers with the protocol that the upstream chose.
class AlpnChoice {
 public:
  explicit AlpnChoice(std::string protocol) : protocol_(std::move(protocol)) {}
  /// Must outlive the handshake of `ssl`; `context` is the one that `ssl` was made from.
  void attach(SSL_CTX* context, SSL* ssl);

 private:
  static int select(SSL* ssl, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* in, unsigned in_size, void*);
  std::string protocol_;
};

/// Whether a handshake that ended as `done` says was ended because of our certificate.
Refusal refusal_of(const TlsStream& client, IoResult done);
/// Whether the program left as soon as TLS was `agreed` on, without a word: with TLS 1.3, and where
/// it compares keys (pinning), programs look at our certificate when the handshake is over for us.
bool left_at_once(const PeekBuffer& client, const PeekBuffer& server,
                  std::chrono::steady_clock::time_point agreed, std::chrono::milliseconds at_once);
inline constexpr std::string_view kLeftAtOnce =
    "the program closed the connection as soon as TLS was agreed on, without a word; it may have "
    "refused osproxy's certificate (pinning)";
/// kLeftAtOnce and what can be done. `advice`: advice_on_trust().
std::string left_at_once_text(std::string_view advice);

/// Whether the program hung up only because we cannot decrypt its ClientHello (RFC 9849, 6.1.6). It
/// has accepted our certificate, and comes again without encryption.
bool wants_no_encrypted_hello(const TlsStream& client);

/// What a handshake that the program did not finish means to its user. `done`: how it ended;
/// `advice`: advice_on_trust(); `issuer`: of the server's own certificate, where that is to be
/// named, else empty.
std::string explain_refusal(const TlsStream& client, IoResult done, const std::string& advice,
                            std::string_view issuer);

}  // namespace mitm::intercept
