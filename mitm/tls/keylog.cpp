// One write(2) a line: lines of several threads, and of other programs that append to the same file (curl
// with SSLKEYLOGFILE), do not mix.
#include "mitm/tls/keylog.h"

#include <cerrno>
#include <string>

#include <sys/stat.h>
#include <unistd.h>

namespace mitm::tls {
namespace {

int context_index() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

}  // namespace

Keylog::Keylog(base::UniqueFd file, Report report) : file_(std::move(file)), report_(std::move(report)) {
  struct stat facts {};
  // An earlier run may have left half a line there, when the disk was full.
  const bool begun = ::fstat(file_.get(), &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0;
  if (begun) write("");
}

void Keylog::attach(SSL_CTX* context) {
  SSL_CTX_set_ex_data(context, context_index(), this);
  SSL_CTX_set_keylog_callback(context, heard);
}

void Keylog::heard(const SSL* ssl, const char* line) {
  auto* const keylog = static_cast<Keylog*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index()));
  if (keylog != nullptr) keylog->write(line);
}

void Keylog::write(std::string_view line) {
  const std::string text = std::string(line) + '\n';
  const std::lock_guard lock{mutex_};
  if (stopped_) return;
  ssize_t put = 0;
  do {
    put = ::write(file_.get(), text.data(), text.size());
  } while (put < 0 && errno == EINTR);
  if (put == static_cast<ssize_t>(text.size())) return;
  // What fits of a line is written before a disk is full.
  const int code = put < 0 ? errno : ENOSPC;
  const bool slow = code == EAGAIN || code == EWOULDBLOCK;
  stopped_ = !slow;
  if (!slow) return report_(base::os_error("cannot write", code));
  if (!std::exchange(lost_, true)) report_({"its reader is too slow; secrets are lost", code});
}

}  // namespace mitm::tls
