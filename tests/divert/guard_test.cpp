#include "divert/broker/guard.h"

#include <chrono>
#include <filesystem>
#include <thread>

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/process/command.h"
#include "tests/pfctl/namespace.h"
#include "tests/test.h"

using namespace std::chrono_literals;
using namespace divert;

namespace {

/// A broker that starts a guard, then does as told until it is killed. Its guard is to undo the
/// journal.
struct Scene {
  enum class Broker { beats, silent, engine_hangs, pauses, dies_slowly };

  const pfctl_test::Namespace fresh;  ///< for the guard's table
  base::Pipe voice;                   ///< standard error of broker and guard
  pid_t broker = 0;
  pid_t worker = 0;
  std::string cgroup;

  explicit Scene(Broker behaviour) {
    cgroup = make_cgroup(::getpid(), 0)->name;
    voice = std::move(*base::make_pipe(base::Blocking::yes));
    worker = ::fork();
    if (worker == 0) {
      for (;;) ::pause();
    }
    broker = ::fork();
    if (broker == 0) {
      ::dup2(voice.in.get(), STDERR_FILENO);
      const Journal journal{process_id_of(::getpid()), worker, cgroup};
      if (!write_journal(journal)) ::_exit(1);
      auto guard = Guard::start(journal);
      if (behaviour == Broker::pauses) guard->pause();
      if (behaviour == Broker::dies_slowly) {
        *guard = Guard{};  // its pipe closes
        std::this_thread::sleep_for(700ms);
        ::_exit(0);
      }
      for (;;) {
        if (behaviour == Broker::beats) guard->beat();
        if (behaviour == Broker::engine_hangs) guard->beat(Guard::Engine::hangs);
        std::this_thread::sleep_for(100ms);
      }
    }
  }
  ~Scene() {
    for (const pid_t pid : {broker, worker}) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    if (!cgroup.empty()) remove_cgroup(cgroup);
  }
  [[nodiscard]] std::string journal_path() const {
    return fmt::format("{}/{}.json", kJournalDirectory, broker);
  }
  /// The journal is gone, and so is the cgroup: there is nothing left to remove.
  [[nodiscard]] bool undone() const {
    return !std::filesystem::exists(journal_path()) && !remove_cgroup(cgroup);
  }
  /// What has been said up to now.
  std::string said() {
    char buffer[1024];
    pollfd ready{voice.out.get(), POLLIN, 0};
    const ssize_t n =
        ::poll(&ready, 1, 0) == 1 ? ::read(voice.out.get(), buffer, sizeof buffer) : 0;
    if (n > 0) heard.append(buffer, static_cast<std::size_t>(n));
    return heard;
  }
  std::string heard;
  static bool dead(pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; }
};

template <class Condition>
bool within(std::chrono::seconds limit, Condition condition) {
  for (const auto end = std::chrono::steady_clock::now() + limit;
       std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return condition();
}

}  // namespace

TEST_CASE("guard: undoes the journal and ends the worker when the broker is killed") {
  Scene scene{Scene::Broker::beats};
  std::this_thread::sleep_for(2500ms);
  REQUIRE_FALSE(Scene::dead(scene.broker));
  REQUIRE(std::filesystem::exists(scene.journal_path()));
  ::kill(scene.broker, SIGKILL);
  CHECK(within(10s, [&] { return scene.undone(); }));
  CHECK(within(10s, [&] { return Scene::dead(scene.worker); }));
  const auto line = fmt::format(
      "osproxy: the main process (pid {}) was killed or has crashed: the rules are taken out, "
      "open connections are reset\n",
      scene.broker);
  CHECK(within(10s, [&] { return scene.said() == line; }));
}

TEST_CASE("guard: a standard error that takes nothing does not hold it up") {
  Scene scene{Scene::Broker::beats};
  REQUIRE(within(10s, [&] { return std::filesystem::exists(scene.journal_path()); }));
  std::this_thread::sleep_for(300ms);  // the guard starts
  pollfd room{scene.voice.in.get(), POLLOUT, 0};
  while (::poll(&room, 1, 0) == 1) (void)!::write(scene.voice.in.get(), "x", 1);
  ::kill(scene.broker, SIGKILL);
  CHECK(within(10s, [&] { return scene.undone(); }));
  CHECK(within(10s, [&] { return Scene::dead(scene.worker); }));
}

TEST_CASE("guard: kills a broker that is silent for two seconds") {
  Scene scene{Scene::Broker::silent};
  CHECK(within(10s, [&] { return Scene::dead(scene.broker); }));
  CHECK(within(10s, [&] { return scene.undone(); }));
}

TEST_CASE("guard: says why it kills a broker") {
  const std::string end =
      ": it (pid {}) is killed, the rules are taken out, open connections are reset\n";
  const std::pair<Scene::Broker, std::string> cases[] = {
      {Scene::Broker::silent,
       "osproxy: the main process has given no sign of life for two seconds"},
      {Scene::Broker::engine_hangs,
       "osproxy: a thread of the main process that "
       "receives first packets has hung for two seconds"}};
  for (const auto& [behaviour, beginning] : cases) {
    Scene scene{behaviour};
    const std::string line = beginning + fmt::format(fmt::runtime(end), scene.broker);
    CHECK(within(10s, [&] { return scene.said() == line; }));
    CHECK(within(10s, [&] { return Scene::dead(scene.broker); }));
  }
}

TEST_CASE(
    "guard: undoes nothing as long as a dying broker holds on to it, and waits a second for that") {
  Scene scene{Scene::Broker::dies_slowly};
  std::this_thread::sleep_for(600ms);
  CHECK(std::filesystem::exists(scene.journal_path()));
  CHECK(within(10s, [&] { return scene.undone(); }));
}

TEST_CASE("guard: one that is stopped does not hold up the end of the broker") {
  for (const bool stopped : {false, true}) {
    const pfctl_test::Namespace fresh;
    const pid_t broker = ::fork();
    if (broker == 0) {
      auto guard = Guard::start(Journal{process_id_of(::getpid()), ::getpid(), ""});
      if (!guard) ::_exit(1);
      if (stopped) {
        ::kill(guard->pid(), SIGSTOP);
        ::waitpid(guard->pid(), nullptr, WUNTRACED);
      }
      guard->dismiss();
      ::_exit(::kill(guard->pid(), 0) == 0 ? 2 : 0);
    }
    int status = -1;
    const bool ended = within(10s, [&] { return ::waitpid(broker, &status, WNOHANG) != 0; });
    CHECK(ended);
    CHECK(status == 0);
    if (ended) continue;
    ::kill(broker, SIGKILL);
    ::waitpid(broker, nullptr, 0);
  }
}

TEST_CASE("guard: a broker that has said that it pauses is left alone") {
  Scene scene{Scene::Broker::pauses};
  std::this_thread::sleep_for(2800ms);
  CHECK_FALSE(Scene::dead(scene.broker));
  CHECK(std::filesystem::exists(scene.journal_path()));
}
