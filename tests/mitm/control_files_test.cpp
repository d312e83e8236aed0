// Files of rules, and what is said of rules at the start.
#include <fstream>

#include <sys/stat.h>

#include "tests/mitm/rule_play.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

using mitm::intercept::Decision;
using test::Play;

namespace {

void write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("control: files are read when they are needed") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/a.json";
  write(path, "{}");
  Play play(fmt::format(R"([{{"name": "r", "respond": {{"file": "{}"}}}}])", path));
  for (const char* const text : {"one", "two"}) {
    write(path, text);
    play.begin();
    play.request("GET http://h.test/");
    CHECK(play.ask_request() == Decision::answer);
    CHECK(play.answered() == fmt::format("200 OK\nContent-Type: application/json\n\n{}", text));
  }
  std::filesystem::remove(path);
  play.begin();
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::answer);  // it was not meant for the server
  CHECK(play.answered() == "502 Bad Gateway\n\n");
  CHECK(play.by() == fmt::format("r (not done: {}: No such file or directory)", path));
}

TEST_CASE("control: files of rules: FIFOs, long values, links") {
  const test::TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "real");
  std::filesystem::create_directories(directory / "links");
  write(directory / "real/v", std::string((64 << 10) + 1, 'a'));
  std::filesystem::create_symlink(directory / "real/v", directory / "links/v");
  const auto rules = [&] {
    return test::rules_of(fmt::format(
        R"([{{"name": "r", "request": {{"set_header": {{"a": {{"file": "{}"}}}}}}}},
            {{"enabled": false, "respond": {{"file": "/nonexistent/x"}}}}])",
        directory / "links/v"));
  };
  CHECK(mitm::control::check_files(rules()));
  const auto read = mitm::control::directories_read(rules());
  REQUIRE(read.size() == 2);
  CHECK(read[0].ends_with("/links"));
  CHECK(read[1].ends_with("/real"));
  const auto by = [&] {
    Play play(rules());
    play.request("GET http://h.test/");
    CHECK(play.ask_request() == Decision::pass);
    CHECK(play.sent() == "same");
    return play.by();
  };
  CHECK(by().ends_with("links/v is longer than 64 KiB)"));
  std::filesystem::remove(directory / "real/v");
  REQUIRE(::mkfifo(std::string(directory / "real/v").c_str(), 0600) == 0);
  CHECK(by().ends_with("links/v is not a regular file)"));
  const auto good = mitm::control::check_files(rules());
  REQUIRE_FALSE(good);
  CHECK(good.error().text.starts_with("rule 'r': set_header: "));
}

TEST_CASE("control: not all that is in / may be read by the worker") {
  const auto good = mitm::control::check_files(
      test::rules_of(R"([{"name": "r", "respond": {"directory": "/"}}])"));
  REQUIRE_FALSE(good);
  CHECK(good.error().text.starts_with("rule 'r': respond.directory: / is in /"));
}

TEST_CASE("control: what may surprise in filters is said with the rule") {
  const auto lines = mitm::control::warnings_of(test::rules_of(
      R"([{"name": "a", "match": "~replayq", "block": true}, {"match": "~q", "block": true},
          {"enabled": false, "match": "~replayq", "block": true}])"));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].starts_with("rule 'a': "));
}

TEST_CASE("control: a directory is served below the root of the host") {
  const test::TemporaryDirectory directory;
  std::filesystem::create_directories(directory.path() + "/sub");
  write(directory.path() + "/sub/a.css", "a{}");
  write(directory.path() + "/index.html", "home");
  Play play(
      fmt::format(R"([{{"name": "d", "respond": {{"directory": "{}"}}}}])", directory.path()));
  const std::pair<const char*, const char*> cases[] = {
      {"GET http://h.test/sub/a.css?v=1", "200 OK\nContent-Type: text/css\n\na{}"},
      {"GET http://h.test/", "200 OK\nContent-Type: text/html\n\nhome"},
      {"GET http://h.test/none", "404 Not Found\n\n"},
  };
  for (const auto& [line, answered] : cases) {
    play.begin();
    play.request(line);
    CHECK(play.ask_request() == Decision::answer);
    CHECK(play.answered() == answered);
    CHECK(play.by() == "d");
  }
  std::filesystem::resize_file(directory.path() + "/index.html", (16 << 20) + 1);
  play.begin();
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::answer);
  CHECK(play.answered() == "404 Not Found\n\n");
  CHECK(play.by().starts_with("d (not done: "));
}
