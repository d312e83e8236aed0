#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <sys/stat.h>
#include <unistd.h>

#include "mitm/cli/session_directory.h"
#include "tests/mitm/file_mode.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

using std::chrono::system_clock;
using ::test::mode_of;

/// XDG_STATE_HOME for a test.
class StateHome {
 public:
  explicit StateHome(const std::string& path) { ::setenv("XDG_STATE_HOME", path.c_str(), 1); }
  StateHome(const StateHome&) = delete;
  StateHome& operator=(const StateHome&) = delete;
  ~StateHome() { ::unsetenv("XDG_STATE_HOME"); }
};

TEST_CASE("session_directory: is in XDG_STATE_HOME, or where that is by default") {
  ::unsetenv("XDG_STATE_HOME");
  CHECK(sessions_directory("/home/ann") == "/home/ann/.local/state/osproxy/sessions");
  {
    const StateHome state{"/state"};
    CHECK(sessions_directory("/home/ann") == "/state/osproxy/sessions");
  }
  const StateHome relative{"state"};
  CHECK(sessions_directory("/home/ann") == "/home/ann/.local/state/osproxy/sessions");
}

TEST_CASE("session_directory: a name has the time and what is plain of the program") {
  const system_clock::time_point time{std::chrono::seconds{1'796'043'875}};
  const std::string stamp = session_name("", time).substr(0, sizeof "20261130-130435" - 1);
  CHECK(stamp.substr(8, 1) == "-");
  for (const auto& [program, name] : {std::pair{"curl", "curl"},
                                      {"/usr/bin/python3.11", "python3.11"},
                                      {"", "all"},
                                      {"!firefox,user:ann", "firefox-user-ann"},
                                      {"~\x1b[2J", "2J"},
                                      {"..", ".."}}) {
    CAPTURE(program);
    CHECK(session_name(program, time) == stamp + "-" + name);
  }
  CHECK(session_name(std::string(500, 'a'), time).size() < 64);
}

TEST_CASE("session_directory: makes private directories and files, each under a name of its own") {
  const test::TemporaryDirectory home;
  const StateHome state{home / "state"};
  const auto now = system_clock::now();
  const auto one = create_session_file("/none", "curl", now);
  const auto two = create_session_file("/none", "curl", now);
  REQUIRE(one);
  REQUIRE(two);
  CHECK(*one != *two);
  CHECK(two->ends_with("-curl-2.osp"));
  CHECK(mode_of(*one) == 0600);
  const std::string directory = home / "state/osproxy/sessions";
  std::ofstream(directory + "/no-session.txt").close();
  CHECK(session_files(directory) == std::vector{*one, *two});
  CHECK(session_files(home / "none").empty());
  CHECK(mode_of(directory) == 0700);
  std::filesystem::permissions(directory, std::filesystem::perms{0755});
  CHECK(create_session_file("/none", "curl", now));
  CHECK(mode_of(directory) == 0700);
}

TEST_CASE("session_directory: a link in its place is refused") {
  const test::TemporaryDirectory home;
  const StateHome state{home.path()};
  std::filesystem::create_directories(home / "osproxy");
  std::filesystem::create_directories(home / "elsewhere");
  std::filesystem::create_symlink(home / "elsewhere", home / "osproxy/sessions");
  CHECK(!create_session_file("/none", "curl", system_clock::now()));
  CHECK(std::filesystem::is_empty(home / "elsewhere"));
}

TEST_CASE("session_directory: a name that is no file here is looked for there") {
  const test::TemporaryDirectory home;
  const StateHome state{home.path()};
  const auto path = create_session_file("/none", "curl", system_clock::now());
  REQUIRE(path);
  const std::filesystem::path file{*path};
  CHECK(find_session(file.stem().string()) == *path);
  CHECK(find_session(file.filename().string()) == *path);
  for (const std::string name : {"other", "", "-", "/dev/null", "../x"})
    CHECK(find_session(name) == name);
}

}  // namespace
}  // namespace mitm::cli
