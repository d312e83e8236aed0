#include <cerrno>
#include <filesystem>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "mitm/cli/new_file.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

using test::TemporaryDirectory;

std::string text_of(const std::string& path) {
  return base::read_file(path, 100).value();
}

std::ptrdiff_t files_in(const std::string& directory) {
  return std::distance(std::filesystem::directory_iterator{directory}, {});
}

TEST_CASE("new_file: appears under its name, for its user only, when it is published") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/out";
  {
    auto file = NewFile::create(path, "--output", false);
    REQUIRE(file);
    std::fputs("whole", file->stream());
    CHECK(!std::filesystem::exists(path));
    CHECK(file->publish());
  }
  struct stat facts {};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 07777) == 0600);
  CHECK(text_of(path) == "whole");
  CHECK(files_in(directory.path()) == 1);
}

TEST_CASE("new_file: leaves nothing, and what was there, if it is not published") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/out";
  std::fclose(std::fopen(path.c_str(), "w"));
  const auto refused = NewFile::create(path, "--output", false);
  REQUIRE(!refused);
  CHECK(refused.error().os_code == EEXIST);
  CHECK(
      refused.error().text ==
      fmt::format("--output: {} exists; name another file, or add --force to overwrite it", path));
  {
    auto file = NewFile::create(path, "--output", true);
    REQUIRE(file);
    std::fputs("half", file->stream());
    std::fflush(file->stream());
  }
  CHECK(text_of(path).empty());
  CHECK(files_in(directory.path()) == 1);
}

TEST_CASE("new_file: a file that has come meanwhile is not overwritten") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/out";
  auto file = NewFile::create(path, "--output", false);
  REQUIRE(file);
  std::fclose(std::fopen(path.c_str(), "w"));
  CHECK(!file->publish());
}

TEST_CASE("new_file: a signal that ends the process leaves nothing") {
  const TemporaryDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto file = NewFile::create(directory.path() + "/out", "--output", false);
    if (file) ::raise(SIGTERM);
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM));
  CHECK(files_in(directory.path()) == 0);
}

TEST_CASE("new_file: neither a link nor a directory is overwritten") {
  const TemporaryDirectory directory;
  const std::string link = directory.path() + "/link";
  REQUIRE(::symlink("/dev/null", link.c_str()) == 0);
  for (const std::string& path : {link, directory.path(), std::string("/dev/null")}) {
    CAPTURE(path);
    CHECK(!NewFile::create(path, "--output", true));
  }
  CHECK(!NewFile::create(directory.path() + "/none/out", "--output", true));
}

}  // namespace
}  // namespace mitm::cli
