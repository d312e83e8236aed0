#include "base/fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
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
  CHECK(base::read_file(path).error().text == "cannot read " + path + ": No such file or directory");
}

TEST_CASE("write_all: says what the device said") {
  const auto full = base::UniqueFd{::open("/dev/full", 1)};
  CHECK(base::write_all(full.get(), "x").error().text == "cannot write: No space left on device");
}
