// Dumps of a real kernel, and the same bytes cut and bent.
#include "pfctl/foreign_rules.h"

#include <cstring>

#include "tests/pfctl/namespace.h"
#include "tests/test.h"

namespace {

using pfctl_test::Namespace;
using pfctl_test::run;

// nlmsghdr with `type` and `payload`.
std::string message(std::uint16_t type, const std::string& payload) {
  const auto size = static_cast<std::uint32_t>(16 + payload.size());
  std::string bytes(16, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  std::memcpy(bytes.data() + 4, &type, sizeof type);
  return bytes + payload;
}

}  // namespace

TEST_CASE("foreign_rules: output chains of others, by family, type and priority") {
  const Namespace fresh;
  CHECK(pfctl::output_chains().value().empty());
  run("nft 'table ip a { chain out { type nat hook output priority -110; }; chain in { type "
      "filter hook input priority 0; }; chain none { }; }; table inet b { chain c { type filter "
      "hook output priority 5; }; }'");
  const std::vector<pfctl::OutputChain> expected{{"ip a", "out", "nat", -110},
                                                 {"inet b", "c", "filter", 5}};
  CHECK(pfctl::output_chains().value() == expected);
}

TEST_CASE("foreign_rules: our own table is not somebody else's") {
  const Namespace fresh;
  run("nft 'table inet osproxy { chain divert { type nat hook output priority -101; }; }'");
  CHECK(pfctl::output_chains().value().empty());
}

TEST_CASE("foreign_rules: routing rules that look at marks") {
  const Namespace fresh;
  CHECK(pfctl::mark_rules().value().empty());
  run("ip rule add fwmark 0x10/0xff priority 100 lookup 7; ip -6 rule add fwmark 3 priority 200 "
      "lookup 7; ip rule add from 10.0.0.1 lookup 7");
  const std::vector<pfctl::MarkRule> expected{{100, 0x10, 0xff}, {200, 3, 0xffffffff}};
  CHECK(pfctl::mark_rules().value() == expected);
}

TEST_CASE("foreign_rules: dumps that end, fail or are cut short") {
  std::vector<pfctl::OutputChain> chains;
  alignas(8) char buffer[64];
  const auto read = [&](const std::string& bytes) {
    REQUIRE(bytes.size() <= sizeof buffer);
    std::memcpy(buffer, bytes.data(), bytes.size());
    return pfctl::read_chain_dump({buffer, bytes.size()}, chains);
  };
  CHECK(read("").value());
  CHECK_FALSE(read(message(3, std::string(4, '\0'))).value());
  CHECK(read(message(2, std::string("\xff\xff\xff\xff", 4))).error().os_code == 1);
  CHECK(read(message(2, "")).has_error());
  const std::string whole = message(0xa03, std::string(4, '\0'));
  for (std::size_t size = 1; size < whole.size(); ++size)
    CHECK(read(whole.substr(0, size)).has_error());
  CHECK(chains.empty());
}
