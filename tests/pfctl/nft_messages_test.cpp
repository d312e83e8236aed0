// The batch as bytes: its frame, and single messages compared with what nft(8) 1.0.6 sends for the
// same text (strace, checked against the kernel's headers). That the kernel takes it all is shown
// in loader_test.cpp.
#include "pfctl/nft_messages.h"

#include <cstring>

#include "tests/pfctl/netlink_bytes.h"
#include "tests/test.h"

namespace {

using namespace pfctl_test;

struct Header {
  std::uint32_t length;
  std::uint16_t type;
  std::uint16_t flags;
  std::uint32_t sequence;
  std::uint32_t port;
};

struct Part {
  Header header;
  std::string payload;  // behind nfgenmsg
};

constexpr std::uint16_t kRequest = 0x1, kAck = 0x4, kExclusive = 0x200, kCreate = 0x400,
                        kAppend = 0x800;
enum Message : std::uint16_t {
  batch_begin = 0x10,
  batch_end = 0x11,
  new_table = 0xa00,
  del_table = 0xa02,
  new_chain = 0xa03,
  new_rule = 0xa06,
  del_rule = 0xa08,
  new_set = 0xa09,
  new_element = 0xa0c,
};

std::vector<Part> split(std::string_view bytes) {
  std::vector<Part> parts;
  while (bytes.size() >= 20) {
    Part part;
    std::memcpy(&part.header, bytes.data(), sizeof part.header);
    REQUIRE(part.header.length >= 20);
    REQUIRE(part.header.length <= bytes.size());
    part.payload = bytes.substr(20, part.header.length - 20);
    bytes.remove_prefix(part.header.length);
    parts.push_back(std::move(part));
  }
  REQUIRE(bytes.empty());
  return parts;
}

pfctl::Ruleset minimal() {
  pfctl::Ruleset ruleset;
  ruleset.exempt_gid = 61234;
  ruleset.listener_v4 = 8899;
  ruleset.ipv6 = false;
  return ruleset;
}

std::vector<Part> parts_of(const pfctl::Ruleset& ruleset) {
  return split(pfctl::install_batch(pfctl::validated(ruleset).value()).bytes);
}

std::string name(const char* text) {
  return {text, std::strlen(text) + 1};
}

std::vector<Part> of_type(const std::vector<Part>& parts, std::uint16_t type) {
  std::vector<Part> found;
  for (const auto& part : parts) {
    if (part.header.type == type) found.push_back(part);
  }
  return found;
}

}  // namespace

TEST_CASE("nft_messages: a batch is bracketed, numbered from 0, and acknowledged once") {
  const auto batch = pfctl::install_batch(pfctl::validated(minimal()).value());
  const auto parts = split(batch.bytes);
  REQUIRE(parts.size() == batch.steps.size());
  CHECK(parts.front().header.type == batch_begin);
  CHECK(parts.back().header.type == batch_end);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    CHECK(parts[i].header.sequence == i);
    CHECK(((parts[i].header.flags & kAck) != 0) == (i == batch.acknowledged()));
    CHECK((parts[i].header.flags & kRequest) != 0);
  }
}

TEST_CASE("nft_messages: the table is new and owned") {
  const auto table = of_type(parts_of(minimal()), new_table).at(0);
  CHECK(table.header.flags == (kRequest | kCreate | kExclusive));
  CHECK(table.payload == attribute(1, name("osproxy")) + attribute(2, big_endian(2)));
}

TEST_CASE("nft_messages: the chain hangs in the output hook in front of dstnat") {
  const auto chain = of_type(parts_of(minimal()), new_chain).at(1);
  CHECK(chain.header.flags == (kRequest | kCreate | kExclusive));
  CHECK(chain.payload ==
        attribute(1, name("osproxy")) + attribute(3, name("divert")) + attribute(7, name("nat")) +
            attribute(5, big_endian(1)) +
            nested(4, attribute(1, big_endian(3)) + attribute(2, "\xff\xff\xff\x9b")));
}

TEST_CASE("nft_messages: the first rule is the exemption of our group") {
  const auto rule = of_type(parts_of(minimal()), new_rule).at(1);
  const std::string meta =
      nested(1, attribute(1, name("meta")) +
                    nested(2, attribute(2, big_endian(11)) + attribute(1, big_endian(1))));
  const std::string cmp =
      nested(1, attribute(1, name("cmp")) +
                    nested(2, attribute(1, big_endian(1)) + attribute(2, big_endian(0)) +
                                  nested(3, attribute(1, host_order(61234U)))));
  const std::string verdict = nested(
      1, attribute(1, name("immediate")) +
             nested(2, attribute(1, big_endian(0)) +
                           nested(2, nested(2, attribute(1, std::string("\xff\xff\xff\xfb", 4))))));
  CHECK(rule.header.flags == (kRequest | kCreate | kAppend));
  CHECK(rule.payload == attribute(1, name("osproxy")) + attribute(2, name("divert")) +
                            nested(4, meta + cmp + verdict));
}

TEST_CASE("nft_messages: ports with a range make an interval set with closing elements") {
  auto ruleset = minimal();
  ruleset.ports = {{80, 80}, {8000, 8100}, {65000, 65535}};
  const auto parts = parts_of(ruleset);
  const auto set = of_type(parts, new_set).at(1);
  CHECK(set.payload.find(attribute(3, big_endian(7))) !=
        std::string::npos);  // anonymous, constant, interval
  const auto key = [](std::uint16_t port) {
    return nested(1, attribute(1, big_endian(port).substr(2)));
  };
  const auto begin = [&](std::uint16_t port) { return nested(1, key(port)); };
  const auto end = [&](std::uint16_t port) {
    return nested(1, attribute(3, big_endian(1)) + key(port));
  };
  const auto elements = of_type(parts, new_element).at(1);
  CHECK(elements.payload ==
        attribute(1, name("osproxy")) + attribute(2, name("__set%d")) +
            attribute(4, big_endian(2)) +
            nested(3, end(0) + begin(80) + end(81) + begin(8000) + end(8101) + begin(65000)));
}

TEST_CASE("nft_messages: a set of a thousand ports is cut into messages of which each is small") {
  auto ruleset = minimal();
  for (std::uint16_t port = 1; port < 2000; port += 2) ruleset.ports.push_back({port, port});
  const auto elements = of_type(parts_of(ruleset), new_element);
  CHECK(elements.size() == 1 + 5);
  for (const auto& each : elements) CHECK(each.header.length < 8192);
}

TEST_CASE("nft_messages: each step knows the rule it belongs to") {
  const auto batch = pfctl::install_batch(pfctl::validated(minimal()).value());
  REQUIRE(batch.steps.size() == 11);
  CHECK(batch.steps[1].kind == pfctl::Step::Kind::table);
  CHECK(batch.steps[2].kind == pfctl::Step::Kind::chain);
  CHECK(batch.steps[3].rule == "meta skgid 61234 ct original zone set 28531");
  CHECK(batch.steps[4].kind == pfctl::Step::Kind::chain);
  CHECK(batch.steps[5].rule == "meta skgid 61234 return");
  for (const int i : {6, 7, 8}) {
    CHECK(batch.steps[i].rule == "fib daddr type { local, broadcast, anycast, multicast } return");
  }
  CHECK(batch.steps[9].rule == "meta nfproto ipv4 meta l4proto tcp redirect to :8899");
}

TEST_CASE("nft_messages: the removal names our table only") {
  const auto parts = split(pfctl::removal_batch().bytes);
  REQUIRE(parts.size() == 3);
  CHECK(parts[1].header.type == del_table);
  CHECK(parts[1].payload == attribute(1, name("osproxy")));
}

TEST_CASE("nft_messages: diverting is stopped by one rule in front of the others") {
  const auto parts = split(pfctl::stop_batch(minimal()).bytes);
  REQUIRE(parts.size() == 3);
  CHECK(parts[1].header.type == new_rule);
  CHECK(parts[1].header.flags == (kRequest | kCreate | kAck));
  auto holding = minimal();
  holding.queueing.emplace();
  const auto both = split(pfctl::stop_batch(holding).bytes);
  REQUIRE(both.size() == 4);
  CHECK(both[1].payload.find(name("judge")) != std::string::npos);
  CHECK(both[2].payload.find(name("divert")) != std::string::npos);
}

TEST_CASE("nft_messages: diverting is resumed with the rules that were loaded, in one batch") {
  auto holding = minimal();
  holding.queueing.emplace();
  for (const auto& ruleset : {minimal(), holding}) {
    const auto parts = split(pfctl::resume_batch(ruleset).bytes);
    const auto loaded = split(pfctl::install_batch(ruleset).bytes);
    std::vector<std::string> rules;
    std::vector<std::string> wanted;
    std::size_t removals = 0;
    for (const auto& part : parts) {
      removals += part.header.type == del_rule;
      if (part.header.type == new_rule) rules.push_back(part.payload);
    }
    for (const auto& part : loaded) {
      const auto is_in = [&](const char* chain) {
        return part.payload.starts_with(attribute(1, name("osproxy")) + attribute(2, name(chain)));
      };
      if (part.header.type == new_rule && (is_in("judge") || is_in("divert")))
        wanted.push_back(part.payload);
    }
    CHECK(removals == (ruleset.queueing ? 2 : 1));
    CHECK(rules.size() == wanted.size());
    CHECK(parts.at(parts.size() - 2).header.flags == (kRequest | kCreate | kAppend | kAck));
  }
}

TEST_CASE("nft_messages: packets are held by nft's own expression or by the xtables target") {
  auto ruleset = minimal();
  ruleset.queueing.emplace();
  ruleset.queueing->first = 7;
  ruleset.queueing->count = 2;
  const auto rule_holding = [&](std::string_view what) {
    std::size_t found = 0;
    for (const auto& rule : of_type(parts_of(ruleset), new_rule))
      found += rule.payload.find(what) != rule.payload.npos;
    return found;
  };
  const std::string native =
      nested(1, attribute(1, name("queue")) + nested(2, attribute(1, std::string("\0\7", 2)) +
                                                            attribute(2, std::string("\0\2", 2)) +
                                                            attribute(3, std::string("\0\3", 2))));
  const std::string info = host_order(std::uint16_t{7}) + host_order(std::uint16_t{2}) +
                           host_order(std::uint16_t{3}) + std::string(2, '\0');
  const std::string target =
      nested(1, attribute(1, name("target")) +
                    nested(2, attribute(1, name("NFQUEUE")) + attribute(2, big_endian(3)) +
                                  attribute(3, info)));
  CHECK(rule_holding(native) == 2);
  CHECK(rule_holding(target) == 0);
  ruleset.queueing->native = false;
  CHECK(rule_holding(native) == 0);
  CHECK(rule_holding(target) == 2);
}
