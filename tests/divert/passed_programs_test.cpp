#include "divert/packet/passed_programs.h"

#include "tests/test.h"

namespace {

using namespace divert;

Ruling passing(std::string name, std::vector<std::string> others = {}) {
  procmap::ProcessFacts facts;
  facts.name = std::move(name);
  facts.other_names = std::move(others);
  Ruling ruling;
  ruling.owner.process = std::make_shared<procmap::ProcessFacts>(std::move(facts));
  return ruling;
}

}  // namespace

TEST_CASE("passed_programs: those that the filter does not select, each once") {
  PassedPrograms programs;
  CHECK(programs.list().empty());
  programs.notice(passing("git-remote-http"));
  programs.notice(passing("git-remote-http"));
  programs.notice(passing("python3.11", {"python3", "/opt/script.py"}));
  programs.notice(passing("x\x1b[2J"));
  auto chosen = passing("chosen");
  chosen.verdict.action = Action::intercept;
  auto by_rule = passing("by rule");
  by_rule.verdict.rule = 0;
  auto by_host = passing("by host");
  by_host.verdict.by_host.push_back({0, Action::intercept});
  for (const auto& ruling : {chosen, by_rule, by_host, Ruling{}}) programs.notice(ruling);
  CHECK(programs.list() == "git-remote-http, python3.11 (script.py), x\\x1b[2J");
}

TEST_CASE("passed_programs: no more than a few") {
  PassedPrograms programs;
  for (int i = 0; i < 100; ++i) programs.notice(passing("p" + std::to_string(i)));
  CHECK(programs.list() == "p0, p1, p2, p3, p4, p5, p6, p7");
}
