// Output of pfctl as macOS and FreeBSD print it.
#include "mitm/cli/pf_status.h"
#include "tests/test.h"

using namespace mitm::cli;

TEST_CASE("pf_status: enabled or not") {
  CHECK(
      pf_enabled("No ALTQ support in kernel\nStatus: Enabled for 0 days 00:01:02           Debug: Urgent\n"));
  CHECK_FALSE(pf_enabled("Status: Disabled for 0 days 00:00:12           Debug: Urgent\n"));
  CHECK_FALSE(pf_enabled(""));
  CHECK_FALSE(pf_enabled("Token Status: Enabled"));
}

TEST_CASE("pf_status: whether the main ruleset has an anchor evaluated") {
  const std::string_view macos =
      "No ALTQ support in kernel\nscrub-anchor \"com.apple/*\" all fragment reassemble\n"
      "anchor \"com.apple/*\" all\n";
  const struct {
    std::string_view rules, keyword, anchor;
    bool expected;
  } cases[] = {
      {macos, "anchor", "com.apple/osproxy", true},
      {macos, "rdr-anchor", "com.apple/osproxy", false},
      {macos, "scrub-anchor", "com.apple/osproxy", true},
      {macos, "anchor", "osproxy", false},
      {macos, "anchor", "com.apple/osproxy/deeper", false},
      {"rdr-anchor \"com.apple/*\" all", "rdr-anchor", "com.apple/osproxy", true},
      {"  anchor \"osproxy\" all {\n", "anchor", "osproxy", true},
      {"anchor \"osproxy2\" all\n", "anchor", "osproxy", false},
      {"anchor \"osproxy all\n", "anchor", "osproxy", false},
      {"anchors \"osproxy\" all\n", "anchor", "osproxy", false},
      {"", "anchor", "osproxy", false},
  };
  for (const auto& one : cases) {
    CAPTURE(one.rules);
    CAPTURE(one.anchor);
    CHECK(refers_to_anchor(one.rules, one.keyword, one.anchor) == one.expected);
  }
}

TEST_CASE("pf_status: interfaces that are left alone") {
  CHECK(skips_interface("all\n\tCleared: x\nlo0 (skip)\n\tCleared: x\n", "lo0"));
  CHECK_FALSE(skips_interface("lo\nlo0\nem0 (skip)\n", "lo0"));
}
