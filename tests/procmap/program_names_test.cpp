// Names beside the executable's: argv[0] and scripts, for each interpreter's own way to take
// options.
#include "procmap/program_names.h"

#include "tests/test.h"

namespace {

using Words = std::vector<std::string>;

struct Case {
  std::string exe;
  Words argv;
  Words names;
};

void check(std::initializer_list<Case> cases) {
  for (const auto& [exe, argv, names] : cases) {
    CAPTURE(exe);
    CAPTURE(argv.empty() ? std::string() : argv.back());
    CHECK(procmap::names_in_arguments(exe, argv) == names);
  }
}

}  // namespace

TEST_CASE("program_names: argv[0] counts where it differs from the executable") {
  check({
      {"/usr/bin/curl", {}, {}},
      {"/usr/bin/curl", {"curl", "https://npm.example/"}, {}},
      {"/usr/bin/curl", {"/usr/bin/curl"}, {}},
      {"/usr/bin/python3.11", {"python3"}, {"python3"}},
      {"/usr/bin/python3.11", {"/usr/bin/python3"}, {"/usr/bin/python3"}},
      {"/bin/busybox", {"wget", "-q"}, {"wget"}},
      {"/bin/bash", {"-bash"}, {}},
      {"/bin/zsh", {"-sh"}, {"sh"}},
      // Titles that programs write over their arguments.
      {"/usr/bin/node", {"npm install left-pad"}, {"npm"}},
      {"/usr/sbin/nginx", {"nginx: worker process"}, {}},
      {"/usr/lib/postgresql/15/bin/postgres", {"postgres: ann shop idle"}, {}},
      {"/opt/a b/run", {"/opt/a b/run"}, {}},
      {"/opt/a b/run", {"/usr/bin/a link", "x"}, {"/usr/bin/a link"}},
      {"kworker", {""}, {}},
      {"/usr/bin/x", {std::string(5000, 'a')}, {}},
  });
}

TEST_CASE("program_names: an interpreter is called by its script") {
  check({
      {"/usr/bin/node", {"node", "/usr/bin/npm", "install"}, {"/usr/bin/npm"}},
      {"/usr/bin/node",
       {"node", "-r", "./hook.js", "--no-warnings", "/opt/app/server.js", "x.js"},
       {"/opt/app/server.js"}},
      {"/usr/bin/node", {"node", "--import", "a.mjs", "--inspect=1", "b.mjs"}, {"b.mjs"}},
      {"/usr/bin/node", {"node", "-e", "fetch(1)", "x"}, {}},
      {"/usr/bin/node", {"node", "-pe", "1"}, {}},
      {"/usr/bin/node", {"node", "--", "-odd.js"}, {"-odd.js"}},
      {"/usr/bin/python3.11", {"python3", "script.py", "-c", "x"}, {"python3", "script.py"}},
      {"/usr/bin/python3.11", {"python3.11", "-u", "-W", "ignore", "script.py"}, {"script.py"}},
      {"/usr/bin/python3.11", {"python3.11", "-Wignore", "-uB", "script.py"}, {"script.py"}},
      {"/usr/bin/python3.11", {"python3.11", "-m", "http.server", "8000"}, {"http.server"}},
      {"/usr/bin/python3.11", {"python3.11", "-umhttp.server"}, {"http.server"}},
      {"/usr/bin/python3.11", {"python3.11", "-c", "import x", "script.py"}, {}},
      {"/usr/bin/python3.11", {"python3.11", "-"}, {}},
      {"/usr/bin/python3.11", {"python3.11", "-m"}, {}},
      {"/usr/bin/python3.11", {"python3.11", "-W"}, {}},
      {"/bin/dash", {"sh", "-ec", "curl x", "name"}, {"sh"}},
      {"/bin/bash",
       {"bash", "-e", "-o", "pipefail", "+x", "/opt/update.sh", "all"},
       {"/opt/update.sh"}},
      {"/bin/bash", {"/bin/bash", "./gradlew", "build"}, {"./gradlew"}},
      {"/usr/bin/perl5.36.0", {"perl5.36.0", "-w", "-I", "lib", "x.pl"}, {"x.pl"}},
      {"/usr/bin/ruby3.1", {"ruby3.1", "-rset", "bundle"}, {"bundle"}},
      {"/usr/bin/php8.2", {"php8.2", "-f", "a.php"}, {"a.php"}},
      {"/usr/bin/php8.2", {"php8.2", "-r", "echo 1;"}, {}},
      {"/opt/jdk-17/bin/java",
       {"java", "-Xmx1g", "-cp", "a:b", "-jar", "app.jar", "x"},
       {"app.jar"}},
      {"/opt/jdk-17/bin/java",
       {"java", "--class-path", "a", "-Dx=y", "org.example.Main"},
       {"org.example.Main"}},
      {"/usr/bin/lua5.4", {"lua5.4", "x.lua"}, {"x.lua"}},
      // Not an interpreter: its arguments are nobody's name.
      {"/usr/bin/vim", {"vim", "script.py"}, {}},
      {"/usr/bin/python-config", {"python-config", "script.py"}, {}},
  });
}

TEST_CASE("program_names: what an interpreter runs") {
  const struct {
    const char* exe;
    std::vector<std::string> argv;
    const char* script;
  } cases[] = {
      {"/usr/bin/python3.11", {"python3", "tools/prog.py", "-v"}, "prog.py"},
      {"/usr/bin/python3.11", {"python3", "-m", "http.server"}, "http.server"},
      {"/usr/bin/python3.11", {"python3", "-c", "pass"}, ""},
      {"/usr/bin/python3.11", {"/usr/bin/python3.11"}, ""},
      {"/usr/bin/node", {"node", "/usr/lib/npm/npm-cli.js", "ci"}, "npm-cli.js"},
      {"/usr/bin/node", {"npm install"}, "npm"},
      {"/usr/bin/dash", {"sh", "-c", "curl"}, ""},
      {"/usr/bin/bash", {"-bash"}, ""},
      {"/usr/sbin/nginx", {"nginx: worker process"}, ""},
      {"/usr/bin/vim", {"vi", "script.py"}, ""},
      {"", {}, ""},
  };
  for (const auto& one : cases) {
    CAPTURE(one.exe);
    const auto names = procmap::names_in_arguments(one.exe, one.argv);
    CHECK(procmap::script_name(one.exe, names) == one.script);
  }
}
