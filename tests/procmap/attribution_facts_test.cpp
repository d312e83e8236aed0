// What is known of a process and its ancestors.
#include <csignal>
#include <fstream>
#include <functional>
#include <iterator>

#include <pthread.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "procmap/attribution.h"
#include "tests/procmap/attribution_fixture.h"
#include "tests/procmap/children.h"
#include "tests/test.h"

namespace procmap {

TEST_CASE("attribution: facts of a process") {
  auto attributor = Attributor::open();
  const auto own = attributor->facts_of(::getpid());
  REQUIRE(own);
  CHECK(own->exe == own_exe());
  CHECK(attributor->facts_of(::getpid()) == own);
  std::string words;
  for (const auto& word : own->argv) words += word + '\0';
  std::ifstream file("/proc/self/cmdline");
  CHECK(words == std::string(std::istreambuf_iterator<char>(file), {}));
  CHECK_FALSE(attributor->facts_of(0));
  CHECK_FALSE(attributor->facts_of(-1));
  CHECK_FALSE(attributor->facts_of(1 << 30));
}

TEST_CASE("attribution: a parent that has ended stays in the chain when it was seen") {
  auto attributor = Attributor::open();
  // The grandchild waits on the parent's wire, which the test holds.
  Child parent{[](const Child::Wire& wire) {
    const pid_t grandchild = ::fork();
    if (grandchild > 0) wire.send(static_cast<std::uint64_t>(grandchild));
    (void)wire.receive();
  }};
  const auto grandchild = static_cast<pid_t>(parent.wire().receive());
  const pid_t parent_pid = parent.pid();
  const auto before = attributor->facts_of(grandchild);
  REQUIRE(before);
  REQUIRE(before->ancestors.size() >= 2);
  CHECK(before->ancestors[0].id.pid == parent_pid);
  CHECK(before->ancestors[1].id.pid == ::getpid());
  parent.end();
  const auto after = attributor->facts_of(grandchild);
  REQUIRE(after);
  CHECK(after->ppid != parent_pid);
  CHECK(after->ancestors.front().id == before->ancestors.front().id);
}

namespace {

/// Each the child of the one before it; the last one says its number. They end with the first.
void begin_line(int processes, const Child::Wire& wire) {
  for (int i = 0; i < processes; ++i) {
    const pid_t child = ::fork();
    if (child != 0) break;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (i == processes - 1) wire.send(static_cast<std::uint64_t>(::getpid()));
  }
  ::pause();
}

/// On a stack of 128 KiB.
void on_a_small_stack(std::function<void()> body) {
  pthread_attr_t attributes;
  REQUIRE(::pthread_attr_init(&attributes) == 0);
  REQUIRE(::pthread_attr_setstacksize(&attributes, 128 << 10) == 0);
  pthread_t thread{};
  const auto run = [](void* call) -> void* {
    (*static_cast<std::function<void()>*>(call))();
    return nullptr;
  };
  REQUIRE(::pthread_create(&thread, &attributes, run, &body) == 0);
  REQUIRE(::pthread_join(thread, nullptr) == 0);
}

}  // namespace

TEST_CASE("attribution: however deep the tree of processes is, the nearest ancestors are known") {
  constexpr int kDepth = 400;
  const Child first{[](const Child::Wire& wire) { begin_line(kDepth, wire); }};
  const auto last = static_cast<pid_t>(first.wire().receive());
  auto attributor = Attributor::open();
  std::shared_ptr<const ProcessFacts> facts;
  on_a_small_stack([&] { facts = attributor->facts_of(last); });
  REQUIRE(facts);
  REQUIRE(facts->ancestors.size() == 64);
  CHECK(facts->ancestors.front().id.pid == facts->ppid);
  CHECK(attributor->facts_of(last) == facts);
  // One that was passed on the way up has as many of its own.
  const auto above = attributor->facts_of(facts->ancestors[40].id.pid);
  REQUIRE(above);
  CHECK(above->ancestors.front().id == facts->ancestors[41].id);
  CHECK(above->ancestors.size() == 64);
}

}  // namespace procmap
