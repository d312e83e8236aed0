#include "divert/guard.h"

#include <chrono>
#include <filesystem>
#include <thread>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/capture.h"
#include "tests/test.h"

using namespace std::chrono_literals;
using namespace divert;

namespace {

/// A broker that starts a guard, then does as told until it is killed. Its guard is to undo the journal.
struct Scene {
  enum class Broker { beats, silent, pauses, dies_slowly };

  pid_t broker = 0;
  pid_t worker = 0;
  std::string cgroup;

  explicit Scene(Broker behaviour) {
    cgroup = make_cgroup(::getpid(), 0)->name;
    worker = ::fork();
    if (worker == 0) {
      for (;;) ::pause();
    }
    broker = ::fork();
    if (broker == 0) {
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
  static bool dead(pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; }
};

template <class Condition>
bool within(std::chrono::milliseconds limit, Condition condition) {
  for (const auto end = std::chrono::steady_clock::now() + limit; std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return condition();
}

}  // namespace

TEST_CASE("guard: undoes the journal and ends the worker when the broker is killed") {
  Scene scene{Scene::Broker::beats};
  std::this_thread::sleep_for(1500ms);
  REQUIRE_FALSE(Scene::dead(scene.broker));
  REQUIRE(std::filesystem::exists(scene.journal_path()));
  ::kill(scene.broker, SIGKILL);
  CHECK(within(1000ms, [&] { return scene.undone(); }));
  CHECK(within(1000ms, [&] { return Scene::dead(scene.worker); }));
}

TEST_CASE("guard: kills a broker that is silent for a second") {
  Scene scene{Scene::Broker::silent};
  CHECK(within(2500ms, [&] { return Scene::dead(scene.broker); }));
  CHECK(within(1000ms, [&] { return scene.undone(); }));
}

TEST_CASE("guard: undoes nothing as long as a dying broker holds on to it, and waits a second for that") {
  Scene scene{Scene::Broker::dies_slowly};
  std::this_thread::sleep_for(600ms);
  CHECK(std::filesystem::exists(scene.journal_path()));
  CHECK(within(1000ms, [&] { return scene.undone(); }));
}

TEST_CASE("guard: one that is stopped does not hold up the end of the broker") {
  for (const bool stopped : {false, true}) {
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
    const bool ended = within(3000ms, [&] { return ::waitpid(broker, &status, WNOHANG) != 0; });
    CHECK(ended);
    CHECK(status == 0);
    if (ended) continue;
    ::kill(broker, SIGKILL);
    ::waitpid(broker, nullptr, 0);
  }
}

TEST_CASE("guard: a broker that has said that it pauses is left alone") {
  Scene scene{Scene::Broker::pauses};
  std::this_thread::sleep_for(1800ms);
  CHECK_FALSE(Scene::dead(scene.broker));
  CHECK(std::filesystem::exists(scene.journal_path()));
}
