#include "divert/broker/foreign_rules_watch.h"

#include "tests/test.h"

namespace {

using namespace divert;
using namespace std::chrono_literals;

struct Rig {
  bool changed = false;
  base::Result<pfctl::Standing> found = pfctl::Standing{};
  int looks = 0;
  bool slow = false;
  std::promise<ForeignRulesWatch::Looked> promise;  ///< of the last look
  ForeignRulesWatch::Clock::time_point now{100s};
  ForeignRulesWatch watch{{[this] { return std::exchange(changed, false); },
                           [this] {
                             ++looks;
                             promise = {};
                             if (!slow) promise.set_value({found, 0s});
                             return promise.get_future();
                           }},
                          {"old"},
                          now};

  ForeignRulesWatch::News after(ForeignRulesWatch::Clock::duration time) {
    now += time;
    return watch.tick(now);
  }
};

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE(
    "others_watch: changes are looked at once they have "
    "settled, not too often, and now and then anyway") {
  Rig rig;
  (void)rig.after(1s);
  CHECK(rig.looks == 0);
  rig.changed = true;
  (void)rig.after(0s);
  CHECK(rig.looks == 0);
  rig.changed = true;
  (void)rig.after(200ms);
  (void)rig.after(100ms);
  CHECK(rig.looks == 1);
  rig.changed = true;
  (void)rig.after(100ms);
  (void)rig.after(1s);
  CHECK(rig.looks == 1);
  (void)rig.after(1s);
  CHECK(rig.looks == 2);
  (void)rig.after(19s);
  CHECK(rig.looks == 2);
  (void)rig.after(1s);
  CHECK(rig.looks == 3);
}

TEST_CASE("others_watch: what is new is reported once, what is over as well") {
  Rig rig;
  rig.found = pfctl::Standing{true, {}, {"old", "new"}};
  CHECK(rig.after(30s).lines == Lines{"new"});
  CHECK(rig.after(30s).lines.empty());
  rig.found = pfctl::Standing{true, {}, {"new"}};
  CHECK(rig.after(30s).lines == Lines{"no longer: old"});
}

TEST_CASE("others_watch: rules that are gone, and what cannot be told") {
  Rig rig;
  rig.found = pfctl::Standing{false, "the table has been removed", {"old"}};
  const auto news = rig.after(30s);
  CHECK(news.lost);
  CHECK(news.lines == Lines{"the table has been removed"});
  rig.found = base::failure("cannot be told");
  CHECK_FALSE(rig.after(30s).lost);
  CHECK(rig.looks == 2);
}

TEST_CASE("others_watch: a look that takes long is waited for by nobody, and is the only one") {
  Rig rig;
  rig.slow = true;
  CHECK(rig.after(20s).lines.empty());
  rig.changed = true;
  CHECK(rig.after(60s).lines.empty());
  CHECK(rig.looks == 1);
  rig.promise.set_value({pfctl::Standing{true, {}, {"old", "new"}}, 3s});
  CHECK(rig.after(1s).lines == Lines{"new"});
  // At most a twentieth of the time goes into looking.
  rig.changed = true;
  (void)rig.after(59s);
  CHECK(rig.looks == 1);
  (void)rig.after(1s);
  CHECK(rig.looks == 2);
}
