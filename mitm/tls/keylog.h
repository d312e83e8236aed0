// The secrets of TLS connections in the format of SSLKEYLOGFILE, for whoever decrypts a capture.
#pragma once

#include <functional>
#include <mutex>
#include <string_view>

#include "base/fd.h"
#include "mitm/tls/openssl.h"

namespace mitm::tls {

/// Any thread. Never waits for a reader (a pipe): what does not fit is lost, and that is said once.
class Keylog {
 public:
  /// Called at most once for each kind of trouble; after an error other than EAGAIN nothing more is written.
  using Report = std::function<void(const base::Error&)>;

  /// `file` is open for appending and does not block.
  Keylog(base::UniqueFd file, Report report);
  Keylog(const Keylog&) = delete;
  Keylog& operator=(const Keylog&) = delete;

  /// From now on the secrets of connections made from `context` are written. Handshakes must be over before
  /// this is destroyed.
  void attach(SSL_CTX* context);

 private:
  static void heard(const SSL* ssl, const char* line);
  void write(std::string_view line);

  const base::UniqueFd file_;
  const Report report_;
  std::mutex mutex_;
  bool lost_ = false;
  bool stopped_ = false;
};

}  // namespace mitm::tls
