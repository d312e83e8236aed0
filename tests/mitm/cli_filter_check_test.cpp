// Which FILTERs name something that exists: files and accounts of a directory made for it,
// processes of a list.
#include <filesystem>
#include <fstream>

#include <sys/stat.h>
#include <unistd.h>

#include "mitm/cli/filter_check.h"
#include "tests/mitm/tls_fixture.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

void put_program(const std::string& path, mode_t mode = 0755) {
  std::ofstream{path} << "#!/bin/sh\n";
  REQUIRE(::chmod(path.c_str(), mode) == 0);
}

struct Place {
  tls_test::Directory directory;
  std::string home = directory / "home";

  Place() {
    for (const char* name : {"bin", "home", "home/.local", "home/.local/bin", "opt", "opt/deep"})
      std::filesystem::create_directory(directory / name);
    put_program(directory / "bin/zz-fetch");
    put_program(directory / "bin/zz-text", 0644);
    put_program(directory / "home/.local/bin/zz-mine");
    put_program(directory / "opt/deep/zz-hidden");
    put_program(directory / "opt/deep/zz-wrapper");
    std::filesystem::create_symlink(directory / "opt/deep/zz-wrapper", directory / "bin/zz-link");
  }
  [[nodiscard]] std::vector<Unfound> missing(std::string_view spec) const {
    return not_installed(*divert::ProgramFilter::parse(spec), directory / "bin", home);
  }
};

Processes one_process(std::string exe, std::vector<std::string> others = {}) {
  auto facts = std::make_shared<procmap::ProcessFacts>();
  facts->id = {4711, 1};
  facts->exe = std::move(exe);
  facts->name = facts->exe.substr(facts->exe.rfind('/') + 1);
  facts->other_names = std::move(others);
  facts->cgroup = "/user.slice/a";
  return {facts};
}

}  // namespace

TEST_CASE("filter check: programs that are installed, accounts and processes that exist") {
  const Place place;
  const std::string top = place.directory.path();
  for (const std::string& spec : {std::string("zz-fetch"),
                                  std::string("=zz-fetch"),
                                  std::string("zz-fet"),
                                  std::string("!zz-fetch"),
                                  std::string("=zz-fetch+"),
                                  std::string("zz-f*"),
                                  std::string("~zz-fet.h$"),
                                  std::string("=zz-mine"),
                                  std::string("=zz-link"),
                                  std::string("=zz-hidden"),
                                  top + "/opt/",
                                  top + "/opt/deep/zz-h",
                                  top + "/opt/*/zz-hidden",
                                  std::string("sh"),
                                  std::string("user:root"),
                                  std::string("user:4000000"),
                                  std::string("group:0"),
                                  std::string("unknown"),
                                  std::to_string(::getpid()),
                                  std::string("1")}) {
    CAPTURE(spec);
    CHECK(place.missing(spec).empty());
  }
  for (const std::string& spec :
       {std::string("zz-fecth"), std::string("=zz-fetc"), std::string("zz-text"),
        std::string("zz-?"), std::string("~^zz$"), top + "/opt/x", top + "/op/",
        top + "/opt/*/nothing", std::string("user:no-such-user"),
        std::string("group:no-such-group"), std::string("2147483647"),
        std::string("cgroup:/no-such")}) {
    CAPTURE(spec);
    CHECK(place.missing(spec).size() == 1);
  }
  const auto unfound = place.missing("zz-fetch,!zz-nothing,user:no-such-user");
  REQUIRE(unfound.size() == 2);
  CHECK(unfound[0].item == 1);
  CHECK(unfound[1].item == 2);
}

TEST_CASE(
    "filter check: what is nearly a program or a command is said, and a path that is not whole") {
  const Place place;
  CHECK(place.missing("zz-fecth")[0].near == "zz-fetch");
  CHECK(place.missing("lerned")[0].near == "learned");
  CHECK(place.missing("zqx")[0].near.empty());
  CHECK(place.missing("zz-fetch*x")[0].near.empty());
  const auto here = std::filesystem::current_path();
  std::filesystem::current_path(place.directory.path());
  CHECK(place.missing("./opt/deep/zz-hidden")[0].near ==
        std::filesystem::canonical("opt/deep/zz-hidden"));
  std::filesystem::current_path(place.directory / "opt/deep");
  put_program("zz-script.py", 0644);
  CHECK(place.missing("zz-script.py").empty());
  std::filesystem::current_path(here);
}

TEST_CASE("filter check: what runs is enough, by whatever name") {
  const auto left = [](std::string_view spec, std::vector<Unfound> unfound,
                       const Processes& running) {
    return not_running(*divert::ProgramFilter::parse(spec), std::move(unfound),
                       [&] { return running; });
  };
  CHECK(left("zz", {{0, {}}}, one_process("/opt/zz/zz")).empty());
  CHECK(left("script.py", {{0, {}}}, one_process("/usr/bin/python3", {"script.py"})).empty());
  CHECK(left("cgroup:/user.slice", {{0, {}}}, one_process("/bin/sh")).empty());
  CHECK(left("/opt/zz", {{0, {}}}, one_process("/bin/sh")).size() == 1);
  const auto near = left("a,frefox", {{1, "firebox"}}, one_process("/usr/bin/firefox"));
  REQUIRE(near.size() == 1);
  CHECK(near[0].near == "firefox");
  CHECK(left("crul", {{0, "curl"}}, one_process("/bin/sh"))[0].near == "curl");
  bool asked = false;
  CHECK(not_running(*divert::ProgramFilter::parse("curl"), {}, [&] {
          asked = true;
          return Processes{};
        }).empty());
  CHECK_FALSE(asked);
}

TEST_CASE("filter check: the live processes, but not this one") {
  const auto all = other_processes();
  CHECK(std::ranges::none_of(all, [](const auto& facts) { return facts->id.pid == ::getpid(); }));
  CHECK(std::ranges::any_of(all, [](const auto& facts) { return facts->id.pid == ::getppid(); }));
}

TEST_CASE("filter check: in words") {
  const auto said = [](std::string_view spec, std::string near) {
    const auto filter = divert::ProgramFilter::parse(spec);
    return describe(filter->items()[0], {0, std::move(near)});
  };
  CHECK(said("crul", "curl") == "no program like 'crul' runs or is installed; did you mean curl?");
  CHECK(said("=crul", "") == "no program like 'crul' runs or is installed");
  CHECK(said("user:ann", "") == "there is no user 'ann'");
  CHECK(said("group:ann", "") == "there is no group 'ann'");
  CHECK(said("77", "") == "there is no process 77");
  CHECK(said("cgroup:a", "") == "no process is in the cgroup '/a'");
  CHECK(said(std::string(200, 'x'), "") ==
        "no program like '" + std::string(80, 'x') + "...' runs or is installed");
}

}  // namespace mitm::cli
