#include "mitm/cli/doctor_checks.h"
#include "tests/test.h"

namespace {

using State = mitm::cli::Finding::State;

/// FreeBSD with or without ipdivert, and ipfw's default (empty: there is no ipfw).
pfctl::Machine freebsd(bool loaded, const char* accepts) {
  return {
      pfctl::Dialect::freebsd, "osproxy",
      [=](const std::vector<std::string>& argv, std::string_view) -> base::Result<base::Finished> {
        if (argv == std::vector<std::string>{"/sbin/kldstat", "-q", "-m", "ipdivert"})
          return base::Finished{loaded ? 0 : 1, {}, {}};
        if (argv ==
            std::vector<std::string>{"/sbin/sysctl", "-n", "net.inet.ip.fw.default_to_accept"})
          return base::Finished{*accepts ? 0 : 1, accepts, {}};
        return base::failure("no such program: {}", argv.front());
      }};
}

}  // namespace

TEST_CASE("doctor: what divert(4) and ipfw mean on FreeBSD") {
  struct {
    bool loaded;
    const char* accepts;
    State state;
    const char* says;
  } constexpr kCases[] = {
      {true, "1\n", State::ok, "ipfw accepts by default"},
      {true, "0\n", State::ok, "ipfw denies what none of its own rules accepts"},
      {true, "", State::ok, "ipfw denies what none of its own rules accepts"},
      {false, "", State::missing, "sorted at accept"},
  };
  for (const auto& each : kCases) {
    CAPTURE(each.says);
    const auto finding = mitm::cli::check_divert(freebsd(each.loaded, each.accepts));
    CHECK(finding.state == each.state);
    CHECK(finding.detail.find(each.says) != std::string::npos);
    CHECK((finding.advice.find("kldload ipdivert") != std::string::npos) == !each.loaded);
    if (!each.loaded) CHECK(!finding.needed);
  }
  const pfctl::Machine broken{pfctl::Dialect::freebsd, "osproxy",
                              [](const auto&, std::string_view) -> base::Result<base::Finished> {
                                return base::failure("cannot run /sbin/kldstat");
                              }};
  CHECK(mitm::cli::check_divert(broken).detail == "cannot run /sbin/kldstat");
}

TEST_CASE("doctor: what a run can do without is called optional, and the last line sums it up") {
  using mitm::cli::Finding;
  std::vector<Finding> findings{
      {State::ok, "pf", "is enabled", "", true},
      {State::missing, "CA", "there is none yet", "the first run makes one", false}};
  CHECK(mitm::cli::render_findings_text(findings) ==
        "ok       pf                   is enabled\n"
        "optional CA                   there is none yet; the first run makes one\n\n"
        "osproxy can run here.\n");
  findings.push_back({State::blocked, "lo0", "pf skips it", "", true});
  CHECK(mitm::cli::render_findings_text(findings).ends_with(
      "blocked  lo0                  pf skips it\n\n"
      "osproxy cannot run here as it should: see lo0 above.\n"));
  CHECK(mitm::cli::render_findings_jsonl(findings).find("\"missing\"") != std::string::npos);
}
