// The thread that notices what others do to pf.
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <poll.h>

#include "pfctl/pf_watch.h"
#include "tests/pfctl/pf_fixture.h"

namespace {

using pfctl::Dialect;
using pfctl::ProbeResult;
using namespace test;
using namespace std::chrono_literals;

/// A machine that a watch's thread looks at as well.
struct Watched {
  explicit Watched(Dialect dialect) : model(dialect) {
    machine = {dialect, anchor_for(dialect),
               [this](const std::vector<std::string>& argv, std::string_view input) {
                 const std::scoped_lock lock(mutex);
                 return model.runner()(argv, input);
               }};
  }
  void change(const std::function<void()>& how) {
    const std::scoped_lock lock(mutex);
    how();
  }
  void watch_it(std::chrono::milliseconds every = 2ms) {
    watch = pfctl::PfWatch::start(machine, pfctl::query_view(machine).value(), every).value();
  }
  [[nodiscard]] bool readable(std::chrono::milliseconds limit) const {
    pollfd end{watch->descriptor(), POLLIN, 0};
    return ::poll(&end, 1, static_cast<int>(limit.count())) == 1;
  }

  PfMachine model;
  std::mutex mutex;
  pfctl::Machine machine;
  std::unique_ptr<pfctl::PfWatch> watch;
};

}  // namespace

TEST_CASE("pf_watch: the thread notices what is done to pf, and nothing else") {
  for (const Dialect dialect : kDialects) {
    Watched watched(dialect);
    PfMachine& model = watched.model;
    model.state = stock();
    model.state.switched_on = true;
    model.state.anchors[anchor_for(dialect)] = kAnchorText;
    watched.watch_it();
    CHECK(!watched.readable(50ms));
    const std::function<void()> changes[] = {
        [&] { model.state.rules = "pass all\n"; },
        [&] { model.state.nat.clear(); },
        [&] { model.state.anchors.clear(); },
        [&] { model.skips_lo0 = true; },
        [&] {
          model.more_interfaces =
              "lo1: flags=8049<UP> mtu 16384\n\tinet 10.7.7.7 netmask 0xffffffff\n";
        },
        [&] { model.state.switched_on = false; },
        [&] { model.state.module = false; },
    };
    for (const auto& change : changes) {
      watched.change(change);
      CHECK(watched.readable(20s));
      const auto view = pfctl::query_view(watched.machine);
      watched.watch->expect(view ? *view : pfctl::PfView{});
      CHECK(!watched.readable(50ms));
    }
  }
}

TEST_CASE("pf_watch: others are let finish before it is reported") {
  constexpr int kSteps = 20;
  Watched watched(Dialect::freebsd);
  watched.model.state.switched_on = true;
  watched.watch_it();
  int step = 0;
  watched.change([&] {
    watched.model.before_call = [&](const std::string& call) {
      if (call.ends_with(" -v -s Interfaces") && step < kSteps)
        watched.model.state.rules =
            fmt::format("pass in proto tcp from any to any port = {}\n", ++step);
    };
    watched.model.state.rules = "pass all\n";
  });
  CHECK(watched.readable(20s));
  watched.change([&] { CHECK(step == kSteps); });
  watched.watch.reset();
}

TEST_CASE("pf_watch: what is not good yet is told again, ever later") {
  Watched watched(Dialect::freebsd);
  watched.watch_it();
  std::vector<std::chrono::milliseconds> pauses;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    watched.watch->try_again(pfctl::query_view(watched.machine).value());
    CHECK(watched.readable(20s));
    pauses.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin));
  }
  CHECK(pauses.back() >= 32ms);
  watched.watch->expect(pfctl::query_view(watched.machine).value());
  CHECK(!watched.readable(100ms));
  // A change is told at once all the same.
  watched.watch->try_again(pfctl::query_view(watched.machine).value());
  watched.change([&] { watched.model.state.rules = "pass all\n"; });
  CHECK(watched.readable(20s));
}

TEST_CASE(
    "pf_watch: a change while another one is put right, and a failure, are put right as well") {
  for (const bool fails : {false, true}) {
    CAPTURE(fails);
    const Folder folder;
    Watched watched(Dialect::freebsd);
    PfMachine& model = watched.model;
    model.state.switched_on = true;
    pfctl::PfSession held(watched.machine, pfctl::JournalFile::open(folder.journal()).value());
    REQUIRE(start(held).has_value());
    watched.watch_it();
    int looks = 0;
    watched.change([&] {
      model.state.nat.clear();
      model.state.rules.clear();
    });
    REQUIRE(watched.readable(20s));
    watched.change([&] {
      if (fails) model.fail_at = model.changes;
      // The first one is the session's, the second one that of what is then expected.
      model.before_call = [&](const std::string& call) {
        if (!call.ends_with(" -v -s Interfaces") || ++looks != 2 || fails) return;
        model.state.nat.clear();
        model.state.rules.clear();
      };
    });
    pfctl::Ruleset ruleset;
    pfctl::Loaded loaded = kLoaded;
    (void)pfctl::put_right(held, ruleset, loaded, watched.machine, *watched.watch);
    watched.change([&] { CHECK(model.connect(false) == ProbeResult::missed); });
    CHECK(watched.readable(20s));
    (void)pfctl::put_right(held, ruleset, loaded, watched.machine, *watched.watch);
    watched.change([&] { CHECK(model.connect(false) == ProbeResult::reached); });
    CHECK(!watched.readable(100ms));
    watched.watch.reset();
  }
}
