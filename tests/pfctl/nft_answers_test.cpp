// nf_tables' answers from bytes, and the wording of its refusals.
#include "pfctl/nft_answers.h"

#include <cerrno>

#include "pfctl/rules_owner.h"
#include "tests/pfctl/netlink_bytes.h"
#include "tests/test.h"

namespace {

using namespace pfctl_test;
using pfctl::Ack;

constexpr std::uint16_t kNewTable = 10 << 8;

std::string table_message(const std::string& owner, std::uint32_t sequence = 1) {
  return message(kNewTable, sequence,
                 std::string("\x01\0\0\0", 4) + attribute(1, std::string("osproxy\0", 8)) +
                     attribute(2, big_endian(owner.empty() ? 0 : 2)) + attribute(3, big_endian(1)) +
                     (owner.empty() ? "" : attribute(7, owner)));
}

base::Result<pfctl::TableAnswer> table_answer(const std::string& bytes) {
  return pfctl::parse_table_answer(ExactCopy(bytes).view(), 1);
}

pfctl::Batch batch() {
  pfctl::Ruleset ruleset;
  ruleset.exempt_gid = 61234;
  ruleset.listener_v4 = ruleset.listener_v6 = 8899;
  return pfctl::install_batch(ruleset);
}

std::string explained(std::uint32_t sequence, int error) {
  return pfctl::explain(batch(), {sequence, error}, "5.10.0-9-amd64").text;
}

}  // namespace

TEST_CASE("nft_answers: several acknowledgements in one datagram, other messages skipped") {
  const std::string bytes = error_message(1, EEXIST) + message(3, 0, "") + error_message(7, 0);
  const auto acks = pfctl::parse_acks(ExactCopy(bytes).view());
  REQUIRE(acks);
  CHECK(*acks == std::vector<Ack>{{1, EEXIST}, {7, 0}});
  CHECK(pfctl::parse_acks("").value().empty());
}

TEST_CASE("nft_answers: acknowledgements cut at any offset are whole ones or an error") {
  const std::string whole = error_message(1, EEXIST) + error_message(7, 0);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto acks = pfctl::parse_acks(ExactCopy(whole.substr(0, length)).view());
    const std::size_t one = whole.size() / 2;
    CHECK(acks.has_value() == (length % one == 0));
    if (acks) CHECK(acks->size() == length / one);
  }
}

TEST_CASE("nft_answers: lying lengths of acknowledgements are errors or end the datagram") {
  for (const std::uint32_t lie : {0U, 1U, 15U, 37U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
    std::string bytes = error_message(1, EEXIST);
    bytes.replace(0, 4, host_order(lie));
    CHECK(pfctl::parse_acks(ExactCopy(bytes).view()).has_error());
  }
  std::string short_payload = error_message(1, EEXIST);
  short_payload.replace(0, 4, host_order<std::uint32_t>(18));
  CHECK(pfctl::parse_acks(ExactCopy(short_payload).view()).has_error());
}

TEST_CASE("nft_answers: a table with an owner, without one, and none") {
  CHECK(table_answer(table_message(big_endian(4196)))->owner == 4196U);
  CHECK(table_answer(table_message(""))->exists);
  CHECK_FALSE(table_answer(table_message(""))->owner);
  CHECK_FALSE(table_answer(error_message(1, ENOENT))->exists);
  CHECK_FALSE(table_answer(error_message(1, EINVAL))->exists);
  CHECK(table_answer(error_message(1, EPERM)).error().text ==
        "cannot read packet-filter rules: no permission; run as root (CAP_NET_ADMIN in this "
        "network namespace)");
  CHECK(table_answer(error_message(1, EIO)).error().text ==
        "cannot read packet-filter rules: Input/output error");
}

TEST_CASE("nft_answers: a table answer cut at any offset is an error") {
  const std::string whole = table_message(big_endian(4196));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CHECK(table_answer(whole.substr(0, length)).has_error());
    if (length < 16) continue;
    std::string cut = whole.substr(0, length);
    cut.replace(0, 4, host_order(static_cast<std::uint32_t>(length)));
    const auto answer = table_answer(cut);
    CHECK(answer.has_value() == (length >= 20));
    if (answer) CHECK_FALSE(answer->owner);
  }
}

TEST_CASE("nft_answers: an owner of a wrong size is none; another sequence or type is an error") {
  CHECK_FALSE(table_answer(table_message("abc"))->owner);
  CHECK(table_answer(table_message(big_endian(1), 2)).has_error());
  CHECK(table_answer(message(3, 1, "")).has_error());
}

TEST_CASE("nft_answers: a table in the way names its owner") {
  CHECK(pfctl::table_in_the_way(4196).text ==
        "another osproxy (pid 4196) runs in this network namespace; end it first");
  CHECK(pfctl::table_in_the_way(pfctl::kUnseenOwner).text ==
        "another osproxy runs in this network namespace, in a process that cannot be seen from "
        "here; end it first");
  CHECK(pfctl::table_in_the_way(pfctl::kNoOwner).text ==
        "an nftables table inet osproxy that belongs to no running osproxy is in the way; remove "
        "it with: osproxy cleanup");
}

TEST_CASE("nft_answers: only a refusal of the table itself means that one is in the way") {
  CHECK(pfctl::is_in_the_way(batch(), {1, EEXIST}));
  CHECK(pfctl::is_in_the_way(batch(), {1, EPERM}));
  CHECK_FALSE(pfctl::is_in_the_way(batch(), {1, EOPNOTSUPP}));
  CHECK_FALSE(pfctl::is_in_the_way(batch(), {0, EPERM}));
  CHECK_FALSE(pfctl::is_in_the_way(batch(), {2, EEXIST}));
  CHECK_FALSE(pfctl::is_in_the_way(batch(), {1000, EEXIST}));
}

TEST_CASE("nft_answers: each refusal says what failed and what to do") {
  const struct {
    std::uint32_t sequence;
    int error;
    const char* text;
  } cases[] = {
      {0, EPERM,
       "cannot change packet-filter rules: no permission; run as root (CAP_NET_ADMIN in this "
       "network namespace)"},
      {0, EOPNOTSUPP,
       "Linux 5.10.0-9-amd64 has no nf_tables (CONFIG_NF_TABLES); without it nothing can be "
       "diverted: load the module nf_tables or use another kernel"},
      {1, EOPNOTSUPP,
       "Linux 5.10.0-9-amd64 cannot tie packet-filter rules to a process (nf_tables flag owner); "
       "osproxy needs Linux 5.12 or newer"},
      {1, EINVAL,
       "Linux 5.10.0-9-amd64 cannot tie packet-filter rules to a process (nf_tables flag owner); "
       "osproxy needs Linux 5.12 or newer"},
      {1, ENOMEM, "cannot create the nftables table inet osproxy: Cannot allocate memory"},
      {2, ENOENT,
       "Linux 5.10.0-9-amd64 refuses a chain in the output hook: No such file or directory; it "
       "needs CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT"},
      {3, ENOENT,
       "Linux 5.10.0-9-amd64 refuses the packet-filter rule 'meta skgid 61234 ct original zone "
       "set 28531': No such file or directory; it needs CONFIG_NFT_FIB_INET, CONFIG_NFT_REDIR "
       "and CONFIG_NF_CONNTRACK_ZONES"},
      {1000, ENOMEM, "cannot load the packet-filter rules: Cannot allocate memory"},
  };
  for (const auto& each : cases) CHECK(explained(each.sequence, each.error) == each.text);
}
