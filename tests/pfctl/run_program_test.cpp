#include "pfctl/run_program.h"

#include <cerrno>
#include <chrono>
#include <string>

#include <doctest/doctest.h>

using namespace std::chrono_literals;

TEST_CASE("run_program: input, output, error output and status") {
  const auto ran = pfctl::run_program({"/bin/sh", "-c", "cat; echo oops >&2; exit 3"}, "hello\n");
  REQUIRE(ran.has_value());
  CHECK(ran->out == "hello\n");
  CHECK(ran->err == "oops\n");
  CHECK(ran->status == 3);
}

TEST_CASE("run_program: more than any buffer holds, both ways at once") {
  const std::string much(3 << 20, 'x');
  const auto ran = pfctl::run_program({"/bin/cat"}, much);
  REQUIRE(ran.has_value());
  CHECK(ran->out == much);
  CHECK(ran->status == 0);
}

TEST_CASE("run_program: arguments are passed as they are") {
  const auto ran = pfctl::run_program({"/usr/bin/printf", "%s|", "a b", "$HOME;x", "", "*"}, "");
  REQUIRE(ran.has_value());
  CHECK(ran->out == "a b|$HOME;x||*|");
}

TEST_CASE("run_program: a program that does not read its input") {
  const auto ran = pfctl::run_program({"/bin/true"}, std::string(3 << 20, 'x'));
  REQUIRE(ran.has_value());
  CHECK(ran->status == 0);
}

TEST_CASE("run_program: gets two variables, whatever the environment") {
  const auto variables = pfctl::run_program({"/usr/bin/env"}, "");
  REQUIRE(variables.has_value());
  CHECK(variables->out == "PATH=/usr/bin:/bin:/usr/sbin:/sbin\nLC_ALL=C\n");
}

TEST_CASE("run_program: time limit, also for one that closes its output or leaves a child") {
  constexpr const char* kScripts[] = {"exec sleep 60", "exec sleep 60 <&- >&- 2>&-",
                                      "sleep 3 & exec sleep 60"};
  for (const char* script : kScripts) {
    CAPTURE(script);
    const auto start = std::chrono::steady_clock::now();
    const auto ran = pfctl::run_program({"/bin/sh", "-c", script}, "", 200ms);
    REQUIRE(!ran.has_value());
    CHECK(ran.error().text == "/bin/sh did not end within 200 ms; it was stopped");
    CHECK(std::chrono::steady_clock::now() - start < 2s);
  }
}

TEST_CASE("run_program: what cannot be run, what is killed, what never stops writing") {
  const auto missing = pfctl::run_program({"/nonexistent/pfctl", "-e"}, "");
  REQUIRE(!missing.has_value());
  CHECK(missing.error().os_code == ENOENT);
  CHECK(missing.error().text.find("/nonexistent/pfctl") != std::string::npos);

  const auto killed = pfctl::run_program({"/bin/sh", "-c", "kill -9 $$"}, "");
  REQUIRE(killed.has_value());
  CHECK(killed->status == 137);

  const auto endless = pfctl::run_program({"/usr/bin/yes"}, "");
  REQUIRE(!endless.has_value());
  CHECK(endless.error().text.find("more than 4 MiB") != std::string::npos);
}
