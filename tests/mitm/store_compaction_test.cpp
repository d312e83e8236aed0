#include <cerrno>
#include <filesystem>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitm/store/compaction.h"
#include "mitm/store/session_lock.h"
#include "mitm/store/session_reader.h"
#include "mitm/store/session_writer.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace mitm::store {
namespace {

/// A session most of whose pages are free.
std::string session_with_room(const test::TemporaryDirectory& directory) {
  std::string path = directory / "s.osp";
  auto session = SessionWriter::open(path).value();
  Database& database = session->database();
  REQUIRE(
      database.run("INSERT INTO chunk (id, data) WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL "
                   "SELECT i + 1 FROM n WHERE i < 100) SELECT i, zeroblob(60000) FROM n"));
  REQUIRE(database.run("DELETE FROM chunk WHERE id > 1"));
  return path;
}

TEST_CASE("compaction: takes out the room, and leaves all else as it was") {
  const test::TemporaryDirectory directory;
  const std::string path = session_with_room(directory);
  const auto sizes = compact(path, {});
  REQUIRE(sizes);
  CHECK(sizes->before > 5'000'000);
  CHECK(sizes->after < 500'000);
  struct stat facts {};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 07777) == 0600);
  CHECK(static_cast<std::uint64_t>(facts.st_size) == sizes->after);
  CHECK(std::distance(std::filesystem::directory_iterator{directory.path()}, {}) == 1);
  CHECK(
      SessionReader::open(path).value()->database().number("SELECT count(*) FROM chunk").value() ==
      1);
  CHECK(SessionWriter::open(path));
}

void check_left_alone(bool writes) {
  const test::TemporaryDirectory directory;
  const std::string path = session_with_room(directory);
  int ready[2], done[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(done) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    if (writes) {
      const auto session = SessionWriter::open(path);
      const bool told = ::write(ready[1], "x", 1) == 1 && ::read(done[0], &byte, 1) == 1;
      ::_exit(session && told ? 0 : 1);
    }
    const auto session = SessionReader::open(path);
    const bool told = ::write(ready[1], "x", 1) == 1 && ::read(done[0], &byte, 1) == 1;
    ::_exit(session && told ? 0 : 1);
  }
  char byte = 0;
  CHECK(::read(ready[0], &byte, 1) == 1);
  const auto size = std::filesystem::file_size(path);
  CHECK(writer_of(path).has_value() == writes);
  const auto refused = compact(path, {});
  REQUIRE(!refused);
  CHECK(refused.error().os_code == EBUSY);
  CHECK(std::filesystem::file_size(path) == size);
  if (writes) {
    CHECK(writer_of(path) == child);
    CHECK(refused.error().text ==
          fmt::format("{}: another osproxy ({}) writes to it; end that first", path, child));
  }
  CHECK(::write(done[1], "x", 1) == 1);
  ::waitpid(child, nullptr, 0);
  CHECK(!writer_of(path));
  CHECK(compact(path, {}));
}

TEST_CASE("compaction: what another process writes is left alone") {
  check_left_alone(true);
}
TEST_CASE("compaction: what another process reads is left alone") {
  check_left_alone(false);
}

TEST_CASE("session_lock: goes with its process, however that ends") {
  const test::TemporaryDirectory directory;
  const std::string path = session_with_room(directory);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto session = SessionWriter::open(path);
    if (session) ::kill(::getpid(), SIGKILL);
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
  CHECK(!writer_of(path));
  CHECK(!writer_of(directory / "none"));
  CHECK(SessionWriter::open(path));
}

TEST_CASE("session_lock: a writer that is not seen from here has no number") {
  CHECK(written_by_another("s.osp", 0, "end that first").text ==
        "s.osp: another osproxy writes to it; end that first");
}

TEST_CASE("compaction: what is no session stays as it is") {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "text";
  std::FILE* const file = std::fopen(path.c_str(), "w");
  std::fputs("text", file);
  std::fclose(file);
  CHECK(!compact(path, {}));
  CHECK(std::filesystem::file_size(path) == 4);
  CHECK(!compact(directory / "none", {}));
  CHECK(!std::filesystem::exists(directory / "none"));
}

}  // namespace
}  // namespace mitm::store
