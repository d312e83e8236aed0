// The secrets of TLS connections in the format of SSLKEYLOGFILE, to decrypt a capture with.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "base/fd.h"
#include "base/line_writer.h"
#include "mitm/tls/openssl.h"

namespace mitm::tls {

/// Any thread. A handshake never waits for the file: a thread writes, which starts with the first
/// secret (no fork(2) from then on). What a slow reader (a pipe) or file system leaves no room for
/// is lost, and that is said once.
class Keylog {
 public:
  /// Called at most once for each kind of trouble, on any thread, and may be after the end of this
  /// object; after an error other than EAGAIN nothing more is written.
  using Report = std::function<void(const base::Error&)>;

  /// `file` is open for appending. Ends half a line that an earlier run may have left there.
  Keylog(base::UniqueFd file, Report report);
  Keylog(const Keylog&) = delete;
  Keylog& operator=(const Keylog&) = delete;
  /// Waits until all is written, for a second at most.
  ~Keylog();

  /// From now on the secrets of connections made from `context` are written. Handshakes must be
  /// over before this is destroyed.
  void attach(SSL_CTX* context);
  /// Waits until all that was heard is written, for `limit` at most. False: it is not.
  bool wait(std::chrono::milliseconds limit) { return writer_.wait(limit); }

 private:
  class File;

  static void heard(const SSL* ssl, const char* line);

  const std::shared_ptr<File> file_;
  base::LineWriter writer_;
};

}  // namespace mitm::tls
