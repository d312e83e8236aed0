// Which files decrypted bytes and secrets go into, and what becomes of those files.
#include <array>
#include <thread>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mitm/cli/output_file.h"
#include "tests/mitm/tls_fixture.h"
#include "tests/test.h"

using mitm::cli::empty_output_file;
using mitm::cli::open_output_file;
using mitm::cli::OutputMode;
using tls_test::contents;
using tls_test::mode_of;

namespace {

constexpr uid_t kOther = 65534;
constexpr std::array kBoth = {OutputMode::replace, OutputMode::append};

void put(const base::Result<base::UniqueFd>& file, std::string_view bytes) {
  REQUIRE_MESSAGE(file, file.error().text);
  REQUIRE(base::write_all(file->get(), bytes));
}

std::string said_of(const std::string& path, OutputMode mode) {
  const auto file = open_output_file(path, "--output", mode);
  return file ? "opened" : file.error().text;
}

}  // namespace

TEST_CASE("output file: a new one is for its owner only, whatever the umask") {
  const tls_test::Directory directory;
  const mode_t before = ::umask(0);
  for (const auto mode : kBoth) {
    const std::string path = directory / (mode == OutputMode::append ? "keys" : "flows");
    put(open_output_file(path, "--output", mode), "text");
    CHECK(contents(path) == "text");
    CHECK(mode_of(path) == 0600);
  }
  ::umask(before);
}

TEST_CASE("output file: one of the user's own becomes private, and is emptied or goes on") {
  for (const auto mode : kBoth) {
    const tls_test::Directory directory;
    const std::string path = directory / "file";
    tls_test::write(path, "old");
    REQUIRE(::chmod(path.c_str(), 0666) == 0);
    const auto file = open_output_file(path, "--output", mode);
    REQUIRE_MESSAGE(file, file.error().text);
    CHECK(contents(path) == "old");
    if (mode == OutputMode::replace) CHECK(empty_output_file(file->get(), path, "--output"));
    put(file, "new");
    CHECK(contents(path) == (mode == OutputMode::append ? "oldnew" : "new"));
    CHECK(mode_of(path) == 0600);
  }
}

TEST_CASE("output file: another user's file or FIFO is refused at once and stays as it is") {
  if (::geteuid() != 0) return;
  for (const auto mode : kBoth) {
    const tls_test::Directory directory;
    const std::string file = directory / "file", pipe = directory / "pipe";
    tls_test::write(file, "old");
    REQUIRE(::mkfifo(pipe.c_str(), 0666) == 0);
    for (const std::string& path : {file, pipe}) {
      REQUIRE(::chown(path.c_str(), kOther, kOther) == 0);
      REQUIRE(::chmod(path.c_str(), 0666) == 0);
      CHECK(said_of(path, mode) ==
            "--output: " + path +
                " belongs to another user; name a file of your own, or a new one");
      CHECK(mode_of(path) == 0666);
    }
    CHECK(contents(file) == "old");
  }
}

TEST_CASE("output file: a symbolic link is refused, wherever it leads") {
  for (const auto mode : kBoth) {
    const tls_test::Directory directory;
    const std::string target = directory / "target", link = directory / "link",
                      loose = directory / "loose";
    tls_test::write(target, "old");
    REQUIRE(::symlink(target.c_str(), link.c_str()) == 0);
    REQUIRE(::symlink((directory / "new").c_str(), loose.c_str()) == 0);
    for (const std::string& path : {link, loose}) {
      CHECK(said_of(path, mode) ==
            "--output: " + path + " is a symbolic link; name the file that it leads to");
    }
    CHECK(contents(target) == "old");
    CHECK_FALSE(std::filesystem::exists(directory / "new"));
  }
}

TEST_CASE("output file: one that has another name is refused and stays as it is") {
  for (const auto mode : kBoth) {
    const tls_test::Directory directory;
    const std::string path = directory / "file", second = directory / "second";
    tls_test::write(path, "old");
    REQUIRE(::chmod(path.c_str(), 0644) == 0);
    REQUIRE(::link(path.c_str(), second.c_str()) == 0);
    for (const std::string& name : {path, second})
      CHECK(said_of(name, mode) == "--output: " + name +
                                       " has another name, too (a hard link); name a file that "
                                       "has one name, or a new one");
    CHECK(contents(path) == "old");
    CHECK(mode_of(path) == 0644);
  }
}

TEST_CASE("output file: what is no file, FIFO or terminal is refused") {
  const tls_test::Directory directory;
  const std::string socket_path = directory / "socket";
  const base::UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  for (const auto mode : kBoth) {
    for (const std::string& path : {directory.path(), socket_path})
      CHECK(said_of(path, mode) ==
            "--output: " + path + " is neither a file nor a FIFO nor a terminal");
    CHECK(said_of("/no/file", mode) == "--output: cannot open /no/file: No such file or directory");
    CHECK(said_of("/dev/null", mode) == "opened");
  }
}

TEST_CASE("output file: a FIFO's reader is waited for, or missed at once") {
  const tls_test::Directory directory;
  const std::string path = directory / "pipe";
  REQUIRE(::mkfifo(path.c_str(), 0644) == 0);
  CHECK(said_of(path, OutputMode::append) ==
        "--output: cannot open " + path + ": No such device or address");
  std::string read;
  std::thread reader{[&] { read = contents(path); }};
  put(open_output_file(path, "--output", OutputMode::replace), "text");
  reader.join();
  CHECK(read == "text");
  CHECK(mode_of(path) == 0600);
}

TEST_CASE("output file: which names are standard output") {
  for (const char* path : {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
    CHECK(mitm::cli::is_standard_output(path));
  for (const char* path : {"", "/dev/stderr", "/dev/fd/11", "flows", "/dev/tty"})
    CHECK_FALSE(mitm::cli::is_standard_output(path));
}

TEST_CASE("output file: an open descriptor by its path, whatever it is") {
  const tls_test::Directory directory;
  for (const auto mode : kBoth) {
    auto pipe = base::make_pipe(base::Blocking::yes);
    REQUIRE(pipe);
    const std::string number = std::to_string(pipe->in.get());
    for (const std::string& path : {"/dev/fd/" + number, "/proc/self/fd/" + number}) {
      put(open_output_file(path, "--output", mode), "text");
      std::array<char, 8> bytes{};
      CHECK(::read(pipe->out.get(), bytes.data(), bytes.size()) == 4);
    }
    // Not for others who have it.
    CHECK((::fcntl(pipe->in.get(), F_GETFL) & O_NONBLOCK) == 0);
    const std::string to_read = "/dev/fd/" + std::to_string(pipe->out.get());
    CHECK(said_of(to_read, mode) ==
          "--output: cannot write to " + to_read + ": Bad file descriptor");
    CHECK(said_of("/dev/fd/999", mode)
              .starts_with(
                  "--output: /dev/fd/999 is not open here; sudo closes all descriptors above 2: "));
  }
  // A shell's `>file`: what is in the file stays, and so does the position.
  const base::UniqueFd file{::open((directory / "file").c_str(), O_WRONLY | O_CREAT, 0644)};
  REQUIRE(base::write_all(file.get(), "before "));
  const std::string inherited = "/dev/fd/" + std::to_string(file.get());
  const auto again = open_output_file(inherited, "--output", OutputMode::replace);
  REQUIRE(again);
  CHECK(empty_output_file(again->get(), inherited, "--output"));
  put(again, "text");
  CHECK(contents(directory / "file") == "before text");
}
