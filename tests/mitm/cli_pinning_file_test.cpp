// The file in which a run lists pinned programs, and in which `osproxy learned` forgets them.
#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitm/cli/pinning_file.h"
#include "tests/test.h"

using namespace std::chrono_literals;
using mitm::cli::PinnedEntry;
using mitm::cli::PinningFile;
using mitm::intercept::PinningCache;
using mitm::intercept::Refusal;

namespace {

namespace fs = std::filesystem;
const PinningCache::Time kStart = PinningCache::Time{} + 12h;

struct Directory {
  std::string path = [] {
    std::string text = fs::temp_directory_path() / "learned-test-XXXXXX";
    return std::string(::mkdtemp(text.data()));
  }();
  ~Directory() { fs::remove_all(path); }
};

struct Run {
  explicit Run(const std::string& directory)
      : file(
            [&] {
              auto made = mitm::cli::create_pinning_file(directory, ::getpid());
              REQUIRE_MESSAGE(made, made.error().text);
              return std::move(*made);
            }(),
            learned) {}
  std::shared_ptr<PinningCache> learned =
      std::make_shared<PinningCache>(mitm::intercept::PinningSettings{.after = 1});
  PinningFile file;
};

std::vector<std::string> hosts(const std::vector<PinnedEntry>& lines) {
  std::vector<std::string> names;
  for (const auto& line : lines) names.push_back(line.host);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("pinning_file: what was learned is listed until its time has run out") {
  const Directory home;
  const std::string directory = mitm::cli::pinning_directory(home.path);
  CHECK(mitm::cli::read_pinned(directory, kStart).empty());
  Run run{directory};
  run.file.sync(kStart);
  CHECK(mitm::cli::read_pinned(directory, kStart).empty());
  run.learned->refused({0, "/bin/a"}, "one.test", Refusal::unknown_ca, kStart);
  run.file.sync(kStart);
  const auto lines = mitm::cli::read_pinned(directory, kStart);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0] == PinnedEntry{"/bin/a", "one.test", "alert unknown ca", 1, kStart + 10min, 0});
  CHECK(mitm::cli::read_pinned(directory, kStart + 11min).empty());
}

TEST_CASE("pinning_file: what somebody forgets, the run forgets") {
  const Directory home;
  const std::string directory = mitm::cli::pinning_directory(home.path);
  Run run{directory};
  for (const char* program : {"/bin/a", "/bin/b"}) {
    for (const char* host : {"one.test", "two.test"})
      run.learned->refused({0, program}, host, Refusal::closed, kStart);
  }
  run.file.sync(kStart);
  CHECK(mitm::cli::forget_pinned(directory, "three.test", kStart).empty());
  CHECK(mitm::cli::forget_pinned(directory, "/bin/b", kStart).size() == 2);
  CHECK(mitm::cli::forget_pinned(directory, "one.test", kStart).size() == 1);
  // What is learned before the run looks is not lost.
  run.learned->refused({0, "/bin/c"}, "one.test", Refusal::closed, kStart);
  run.file.sync(kStart);
  CHECK(hosts(mitm::cli::read_pinned(directory, kStart)) == Names{"two.test", "one.test"});
  CHECK(run.learned->reason_to_pass({0, "/bin/a"}, "one.test", kStart) == "");
  CHECK(run.learned->reason_to_pass({0, "/bin/b"}, "two.test", kStart) == "");
  CHECK(run.learned->reason_to_pass({0, "/bin/a"}, "two.test", kStart) != "");
  CHECK(mitm::cli::forget_pinned(directory, "all", kStart).size() == 2);
  run.file.sync(kStart);
  CHECK(run.learned->list(kStart).empty());
}

TEST_CASE("pinning_file: it is watched while it lists something, or is yet to") {
  const Directory home;
  Run run{mitm::cli::pinning_directory(home.path)};
  CHECK_FALSE(run.file.is_watched(kStart));
  run.learned->refused({0, "/bin/a"}, "one.test", Refusal::closed, kStart);
  CHECK(run.file.is_watched(kStart));
  run.file.sync(kStart);
  const auto until = run.learned->list(kStart).at(0).until;
  CHECK(run.file.is_watched(until - 1s));
  CHECK_FALSE(run.file.is_watched(until + 1s));
  run.learned->forget({0, "/bin/a"}, "one.test");
  run.file.sync(kStart);
  CHECK_FALSE(run.file.is_watched(kStart));
}

TEST_CASE("pinning_file: writes and forgets on its own thread, and waits for no lock at the end") {
  const Directory home;
  const std::string directory = mitm::cli::pinning_directory(home.path);
  const auto until = [](const auto& condition) {
    for (int i = 0; i < 3000 && !condition(); ++i) std::this_thread::sleep_for(10ms);
    return condition();
  };
  const auto now = [] { return std::chrono::system_clock::now(); };
  const auto count = [&] { return mitm::cli::read_pinned(directory, now()).size(); };
  const auto learned = std::make_shared<PinningCache>(mitm::intercept::PinningSettings{.after = 1});
  {
    auto file = mitm::cli::create_pinning_file(directory, ::getpid());
    REQUIRE_MESSAGE(file, file.error().text);
    mitm::cli::PinningFileThread thread{std::move(*file), learned};
    learned->on_change(thread.on_change());
    thread.start();
    for (const char* host : {"one.test", "two.test"})
      learned->refused({0, "/bin/a"}, host, Refusal::closed, now());
    CHECK(until([&] { return count() == 2; }));
    CHECK(mitm::cli::forget_pinned(directory, "one.test", now()).size() == 1);
    CHECK(until([&] { return learned->list(now()).size() == 1; }));
  }
  CHECK(count() == 0);
  learned->refused({0, "/bin/b"}, "one.test", Refusal::closed, now());  // one that comes too late

  auto second = mitm::cli::create_pinning_file(directory, ::getpid());
  REQUIRE(second);
  const base::UniqueFd other{
      ::open((directory + "/learned-" + std::to_string(::getpid()) + ".json").c_str(), O_RDWR)};
  REQUIRE(::flock(other.get(), LOCK_EX) == 0);
  const auto began = std::chrono::steady_clock::now();
  {
    mitm::cli::PinningFileThread thread{std::move(*second), learned};
    thread.start();
  }
  CHECK(std::chrono::steady_clock::now() - began < 20s);
  { mitm::cli::PinningFileThread none{base::UniqueFd{}, learned}; }
}

TEST_CASE("pinning_file: it ends with its run, killed or not") {
  const Directory home;
  const std::string directory = mitm::cli::pinning_directory(home.path);
  {
    Run run{directory};
    run.learned->refused({0, "/bin/a"}, "one.test", Refusal::closed, kStart);
    run.file.sync(kStart);
  }
  CHECK(mitm::cli::read_pinned(directory, kStart).empty());
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  const std::string path = directory + "/learned-" + std::to_string(dead) + ".json";
  std::ofstream{path} << mitm::cli::render_pinned({{"/bin/a", "one.test", "x", 1, kStart + 1h}});
  CHECK(mitm::cli::read_pinned(directory, kStart).empty());
  CHECK_FALSE(fs::exists(path));
}

TEST_CASE("pinning_file: text that osproxy did not write is no list") {
  const std::string good = mitm::cli::render_pinned({{"/bin/\xff", "one.test", "x", 2, kStart}});
  REQUIRE(mitm::cli::parse_pinned(good));
  CHECK((*mitm::cli::parse_pinned(good))[0].failures == 2);
  for (std::size_t size = 1; size + 1 < good.size(); ++size)
    CHECK_FALSE(mitm::cli::parse_pinned(good.substr(0, size)));
  for (const char* bad :
       {"{}", "[1]", "[{}]", "[[]]",
        R"([{"program":1,"host":"","refusal":"","failures":1,"until":1}])",
        R"([{"program":"","host":"","refusal":"","failures":-1,"until":1}])",
        R"([{"program":"","host":"","refusal":"","failures":1,"until":99999999999999}])",
        R"([{"program":"","host":"","refusal":"","failures":1,"until":1,"uid":"root"}])"}) {
    CAPTURE(bad);
    CHECK_FALSE(mitm::cli::parse_pinned(bad));
  }
}

TEST_CASE(
    "pinning_file: entries of two users are two, "
    "and that of an osproxy without users is anybody's") {
  const Directory home;
  const std::string directory = mitm::cli::pinning_directory(home.path);
  Run run{directory};
  for (const uid_t uid : {5U, 0U})
    run.learned->refused({uid, "/bin/a"}, "one.test", Refusal::closed, kStart);
  run.file.sync(kStart);
  const auto lines = mitm::cli::read_pinned(directory, kStart);
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].uid == 0U);
  CHECK(lines[1].uid == 5U);
  run.learned->forget({5, "/bin/a"}, "one.test");
  run.file.sync(kStart);
  CHECK(mitm::cli::read_pinned(directory, kStart).size() == 1);
  CHECK(run.learned->reason_to_pass({0, "/bin/a"}, "one.test", kStart) != "");
  const auto old = mitm::cli::parse_pinned(
      R"([{"program":"/bin/a","host":"one.test","refusal":"x","failures":3,"until":43200}])");
  REQUIRE(old);
  CHECK((*old)[0] == PinnedEntry{"/bin/a", "one.test", "x", 3, kStart});
  CHECK(*mitm::cli::parse_pinned(mitm::cli::render_pinned(*old)) == *old);
}

TEST_CASE("learned file: is gone when its run has ended") {
  const Directory home;
  const std::string directory = mitm::cli::pinning_directory(home.path);
  const auto made = mitm::cli::create_pinning_file(directory, ::getpid());
  REQUIRE(made);
  CHECK_FALSE(fs::is_empty(directory));
  base::User user;
  user.uid = ::geteuid();
  user.home = home.path;
  mitm::cli::remove_pinning_file(user);
  CHECK(fs::is_empty(directory));
}
