#include "base/fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

TEST_CASE("replace_file: whole or not at all, with its mode; read_file keeps to its limit") {
  char folder[] = "/tmp/osproxy-fd-XXXXXX";
  REQUIRE(mkdtemp(folder));
  const std::string path = std::string(folder) + "/f";
  REQUIRE(base::replace_file(path, "first", 0600));
  REQUIRE(base::replace_file(path, std::string(100'000, 'x'), 0640));
  CHECK(base::read_file(path)->size() == 100'000);
  CHECK(base::read_file(path, 99'999).error().text == path + " is larger than 99999 bytes");
  struct stat facts {};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 07777) == 0640);
  CHECK(base::replace_file("/dev/full/x", "", 0600).error().text ==
        "cannot create /dev/full/x." + std::to_string(getpid()) + ".tmp: Not a directory");
  ::unlink(path.c_str());
  CHECK(::rmdir(folder) == 0);  // no draft is left
  CHECK(base::read_file(path).error().text ==
        "cannot read " + path + ": No such file or directory");
}

TEST_CASE("write_all: says what the device said") {
  const auto full = base::UniqueFd{::open("/dev/full", 1)};
  CHECK(base::write_all(full.get(), "x").error().text == "cannot write: No space left on device");
}

TEST_CASE(
    "make_pipe: what goes in comes out; both ends "
    "are closed by execve, and wait only when asked to") {
  for (const auto blocking : {base::Blocking::no, base::Blocking::yes}) {
    const auto pipe = base::make_pipe(blocking);
    REQUIRE(pipe);
    REQUIRE(base::write_all(pipe->in.get(), "x"));
    char letter = 0;
    CHECK(::read(pipe->out.get(), &letter, 1) == 1);
    for (const int end : {pipe->in.get(), pipe->out.get()}) {
      CHECK((::fcntl(end, F_GETFD) & FD_CLOEXEC) != 0);
      CHECK(((::fcntl(end, F_GETFL) & O_NONBLOCK) != 0) == (blocking == base::Blocking::no));
    }
  }
}

TEST_CASE("close_from: everything from there on, nothing below") {
  const pid_t child = ::fork();
  if (child == 0) {
    const int low = ::open("/dev/null", O_RDONLY), high = ::fcntl(low, F_DUPFD, 200);
    base::close_from(low + 1);
    ::_exit(::fcntl(low, F_GETFD) >= 0 && ::fcntl(high, F_GETFD) < 0 && ::fcntl(0, F_GETFD) >= 0
                ? 0
                : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}
