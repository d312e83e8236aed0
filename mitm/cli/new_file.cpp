#include "mitm/cli/new_file.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

namespace mitm::cli {
namespace {

using base::Result;

/// For the signal handler: the file that is being written; empty: none.
std::array<char, 4096> unfinished{};
constexpr int kEnding[] = {SIGINT, SIGTERM, SIGHUP};

void remove_unfinished(int number) {
  if (unfinished[0] != '\0') ::unlink(unfinished.data());
  ::signal(number, SIG_DFL);
  ::raise(number);
}

/// Only of signals that are not ignored (nohup).
void guard(const std::string& path) {
  if (path.size() >= unfinished.size()) return;
  std::memcpy(unfinished.data(), path.c_str(), path.size() + 1);
  for (const int number : kEnding) {
    if (::signal(number, remove_unfinished) == SIG_IGN) ::signal(number, SIG_IGN);
  }
}

void end_guard() {
  unfinished[0] = '\0';
}

}  // namespace

base::Error NewFile::failed(std::string_view what, int code) const {
  return base::os_error(fmt::format("{}: {} {}", said_by_, what, base::printable(path_)), code);
}

Result<> NewFile::check_name() const {
  struct stat facts {};
  if (::lstat(path_.c_str(), &facts) != 0) {
    if (errno == ENOENT) return {};
    return failed("cannot look at", errno);
  }
  const std::string name = base::printable(path_);
  if (S_ISLNK(facts.st_mode))
    return base::failure("{}: {} is a symbolic link; name the file that it leads to", said_by_,
                         name);
  if (S_ISDIR(facts.st_mode))
    return base::failure("{}: {} is a directory; name a file in it", said_by_, name);
  if (!S_ISREG(facts.st_mode)) return base::failure("{}: {} is no file", said_by_, name);
  if (overwrite_) return {};
  return base::Error{fmt::format("{}: {} exists; name another file, or add --force to overwrite it",
                                 said_by_, name),
                     EEXIST};
}

Result<NewFile> NewFile::create(const std::string& path, std::string_view said_by, bool overwrite) {
  NewFile file{path, std::string(said_by), overwrite};
  if (auto good = file.check_name(); !good) return good.error();
  const auto slash = path.rfind('/') + 1;  // npos + 1 is 0
  std::string name = path.substr(0, slash) + "." + path.substr(slash) + ".XXXXXX";
  base::UniqueFd fd{::mkstemp(name.data())};
  if (!fd) return file.failed("cannot write", errno);
  file.temporary_ = name;
  guard(name);
  if (!base::set_close_on_exec(fd.get())) return file.failed("cannot write", errno);
  file.stream_.reset(::fdopen(fd.get(), "wb"));
  if (!file.stream_) return file.failed("cannot write", errno);
  static_cast<void>(fd.release());
  return file;
}

NewFile::~NewFile() {
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  end_guard();
}

Result<> NewFile::publish() {
  std::FILE* const stream = stream_.get();
  if (std::fflush(stream) != 0 || ::fsync(::fileno(stream)) != 0)
    return failed("cannot write", errno);
  if (auto good = check_name(); !good) return good;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed("cannot write", errno);
  temporary_.clear();
  end_guard();
  return {};
}

}  // namespace mitm::cli
