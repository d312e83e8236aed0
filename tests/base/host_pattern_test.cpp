// Hosts as rules and settings name them.
#include "base/host_pattern.h"

#include "tests/test.h"

namespace {

using base::host_matches;
using base::parse_host_pattern;

TEST_CASE("host_pattern: hosts match exactly, below a star, or as addresses") {
  struct Case {
    std::string_view pattern, host;
    bool expected;
  };
  for (const auto& [pattern, host, expected] : {
           Case{"example.org", "example.org", true},
           {"example.org", "EXAMPLE.org.", true},
           {"Example.org.", "example.org", true},
           {"example.org", "www.example.org", false},
           {"example.org", "badexample.org", false},
           {"*.example.org", "www.example.org", true},
           {"*.example.org", "a.b.Example.Org.", true},
           {"*.example.org", "example.org", false},
           {"*.example.org", ".example.org", false},
           {"*.example.org", "badexample.org", false},
           {"*.org", "example.org", true},
           {"192.0.2.1", "192.0.2.1", true},
           {"192.0.2.1", "192.0.2.10", false},
           {"*.2.1", "192.0.2.1", false},
           {"2001:db8::1", "2001:DB8:0::1", true},
           {"[2001:db8::1]", "2001:db8::1", true},
           {"2001:db8::1", "2001:db8::2", false},
           {"example.org", "", false},
           {"*.example.org", ".", false},
           {"", "", false},
           {"x1", "x1", true},
       }) {
    CAPTURE(pattern);
    CAPTURE(host);
    CHECK(host_matches(pattern, host) == expected);
  }
}

TEST_CASE("host_pattern: host patterns are checked and put into one form") {
  CHECK(parse_host_pattern("Example.ORG.").value() == "example.org");
  CHECK(parse_host_pattern("*.Example.org").value() == "*.example.org");
  CHECK(parse_host_pattern("[2001:DB8::0:1]").value() == "2001:db8::1");
  CHECK(parse_host_pattern("192.0.2.1").value() == "192.0.2.1");
  CHECK(parse_host_pattern("localhost").value() == "localhost");
  for (const auto* bad : {"", "*", "*.", "www.*.org", "a..b", ".example.org", "example.org:443",
                          "https://example.org", "exa mple.org", "m\xc3\xbcnchen.de", "a.*"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_host_pattern(bad));
  }
  CHECK(parse_host_pattern("example.org:443").error().text ==
        "'example.org:443' is not a host; expected a name, *.name for all below it, or an "
        "address, without a port; for example example.org, *.example.org, 192.0.2.1");
}

}  // namespace
