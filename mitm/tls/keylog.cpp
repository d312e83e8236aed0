// One write(2) a line: lines of other programs that append to the same file (curl with
// SSLKEYLOGFILE) do not mix with ours.
#include "mitm/tls/keylog.h"

#include <atomic>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

namespace mitm::tls {
namespace {

using namespace std::chrono_literals;

/// Ten lines of 200 bytes are those of one intercepted connection.
constexpr base::LineWriter::Limits kLimits{.lines = 64 << 10, .bytes = 8 << 20};

int context_index() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

}  // namespace

/// Outlives its Keylog when a write(2) hangs.
class Keylog::File {
 public:
  File(base::UniqueFd file, Report report) : file_(std::move(file)), report_(std::move(report)) {}

  [[nodiscard]] bool is_begun() const {
    struct stat facts {};
    return ::fstat(file_.get(), &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0;
  }

  /// One thread at a time.
  void write(std::string_view text) {
    if (stopped_) return;
    ssize_t put = 0;
    do {
      put = ::write(file_.get(), text.data(), text.size());
    } while (put < 0 && errno == EINTR);
    if (put == static_cast<ssize_t>(text.size())) return;
    // What fits of a line is written before a disk is full.
    const int code = put < 0 ? errno : ENOSPC;
    if (code == EAGAIN || code == EWOULDBLOCK) return lose();
    stopped_ = true;
    report_(base::os_error("cannot write", code));
  }

  /// Any thread.
  void lose() {
    if (!lost_.exchange(true)) report_({"its reader is too slow; secrets are lost", EAGAIN});
  }

 private:
  const base::UniqueFd file_;
  const Report report_;
  std::atomic<bool> lost_ = false;
  bool stopped_ = false;
};

Keylog::Keylog(base::UniqueFd file, Report report)
    : file_(std::make_shared<File>(std::move(file), std::move(report))),
      writer_([file = file_](std::string_view line) { file->write(line); },
              [file = file_](std::size_t) {
                file->lose();
                return std::string();
              },
              kLimits) {
  // An earlier run may have left half a line there, when the disk was full.
  if (file_->is_begun()) file_->write("\n");
}

Keylog::~Keylog() {
  if (!writer_.wait(1s)) file_->lose();
}

void Keylog::attach(SSL_CTX* context) {
  SSL_CTX_set_ex_data(context, context_index(), this);
  SSL_CTX_set_keylog_callback(context, heard);
}

void Keylog::heard(const SSL* ssl, const char* line) {
  auto* const keylog =
      static_cast<Keylog*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index()));
  if (keylog != nullptr) keylog->writer_.put(std::string(line) + '\n');
}

}  // namespace mitm::tls
