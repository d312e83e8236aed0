// Which rules divert, and which leave alone, in the order that keeps us out of our own way: our
// group first, then what must never be diverted, then the redirects.
#include "pfctl/nft_rules.h"

namespace pfctl {
namespace {

using Address4 = boost::asio::ip::address_v4;
using Address6 = boost::asio::ip::address_v6;

constexpr std::uint16_t kDnsPort = 53;

/// Versions 1 (RFC 9000) and 2 (RFC 9369), the drafts of both, Google's own that have long headers
/// (Q050, T050, T051), Meta's.
constexpr QuicVersions kQuicVersions[] = {
    {1}, {0x6b3343cf}, {0xff000000, 24}, {0x51303500, 24}, {0x54303500, 24}, {0xfaceb000, 24}};

NftRule own_listener(const base::Address& address, std::uint16_t port) {
  NftRule rule;
  rule.destination = base::Network{address, address.is_v4() ? 32U : 128U};
  rule.transport = Transport::tcp;
  rule.ports = {{port, port}};
  return rule;
}

// Once the machine's own addresses are diverted as well, a visitor of a listener would be sent to
// that listener as if it had wanted to go somewhere else.
void append_listeners(const Ruleset& ruleset, std::vector<NftRule>& rules) {
  const std::size_t first = rules.size();
  if (ruleset.ipv4) rules.push_back(own_listener(Address4::loopback(), ruleset.listener_v4));
  if (ruleset.ipv6) rules.push_back(own_listener(Address6::loopback(), ruleset.listener_v6));
  rules[first].heading = "osproxy's listeners";
}

NftRule not_unicast(bool loopback) {
  NftRule rule;
  rule.heading =
      loopback ? "broadcast, anycast and multicast destinations"
               : "this machine's own addresses; broadcast, anycast and multicast destinations";
  if (!loopback) rule.types.push_back(AddressType::local);
  rule.types.insert(rule.types.end(),
                    {AddressType::broadcast, AddressType::anycast, AddressType::multicast});
  return rule;
}

void append_excluded(const std::vector<base::Network>& networks, std::vector<NftRule>& rules) {
  for (const auto& network : networks) {
    NftRule rule;
    if (&network == &networks.front()) rule.heading = "destinations left alone";
    rule.destination = network;
    rules.push_back(std::move(rule));
  }
}

NftRule our_group(const Ruleset& ruleset) {
  NftRule rule;
  rule.heading = "osproxy's own connections";
  rule.group = ruleset.exempt_gid;
  return rule;
}

std::vector<NftRule> our_own(const Ruleset& ruleset) {
  std::vector<NftRule> rules{our_group(ruleset)};
  if (ruleset.own_mark) {
    NftRule rule;
    rule.own_zone = true;
    rules.push_back(std::move(rule));
  }
  return rules;
}

NftRule redirect(Family family, const Ruleset& ruleset, std::uint16_t listener) {
  NftRule rule;
  rule.heading = family == Family::ipv4 ? "IPv4, to the listener on 127.0.0.1"
                                        : "IPv6, to the listener on ::1";
  rule.family = family;
  rule.transport = Transport::tcp;
  if (ruleset.queueing) {
    rule.mark_bit = ruleset.queueing->mark_bit;
  } else {
    rule.cgroup = ruleset.cgroup;
    rule.ports = ruleset.ports;
  }
  rule.outcome = ToListener{listener};
  return rule;
}

// What must never be diverted.
void append_exempt(const Ruleset& ruleset, std::vector<NftRule>& rules) {
  if (ruleset.loopback) append_listeners(ruleset, rules);
  rules.push_back(not_unicast(ruleset.loopback));
  append_excluded(ruleset.excluded, rules);
}

NftChain zone_chain(const Ruleset& ruleset) {
  NftRule rule = our_group(ruleset);
  rule.heading = "osproxy's own connections are not taken for a program's that had the same ports";
  rule.outcome = IntoZone{};
  std::vector<NftRule> rules{std::move(rule)};
  if (ruleset.own_mark) {
    NftRule in_place_of_a_program;
    in_place_of_a_program.heading = "and those that have the program's user and group";
    in_place_of_a_program.mark_bit = ruleset.own_mark;
    in_place_of_a_program.outcome = IntoZone{ruleset.own_mark};
    rules.push_back(std::move(in_place_of_a_program));
  }
  return {kZoneChain, "filter", kZonePriority, Hook::output, std::move(rules)};
}

NftChain divert_chain(const Ruleset& ruleset) {
  std::vector<NftRule> rules = our_own(ruleset);
  if (!ruleset.queueing) append_exempt(ruleset, rules);
  if (ruleset.ipv4) rules.push_back(redirect(Family::ipv4, ruleset, ruleset.listener_v4));
  if (ruleset.ipv6) rules.push_back(redirect(Family::ipv6, ruleset, ruleset.listener_v6));
  return {kDivertChain, "nat", kDivertPriority, Hook::output, std::move(rules)};
}

NftRule refuse(Refusal how) {
  NftRule rule;
  if (how == Refusal::reset) rule.transport = Transport::tcp;
  rule.mark = static_cast<std::uint32_t>(how);
  rule.outcome = Refuse{how};
  return rule;
}

NftRule hold(Transport transport, const Ruleset& ruleset) {
  NftRule rule;
  rule.cgroup = ruleset.cgroup;
  if (ruleset.ipv4 != ruleset.ipv6) rule.family = ruleset.ipv4 ? Family::ipv4 : Family::ipv6;
  rule.transport = transport;
  rule.outcome = Hold{*ruleset.queueing};
  return rule;
}

NftChain judge_chain(const Ruleset& ruleset) {
  std::vector<NftRule> rules = our_own(ruleset);
  rules.push_back(refuse(Refusal::reset));
  rules.back().heading = "refused: how, the verdict says by a mark";
  for (const auto how : {Refusal::no_route, Refusal::host_unreachable, Refusal::prohibited,
                         Refusal::port_unreachable}) {
    rules.push_back(refuse(how));
  }
  append_exempt(ruleset, rules);
  rules.push_back(hold(Transport::tcp, ruleset));
  rules.back().heading = "held until the verdict";
  rules.back().ports = ruleset.ports;
  if (ruleset.queueing->quic) rules.push_back(hold(Transport::udp, ruleset));
  return {kJudgeChain, nullptr, 0, Hook::output, std::move(rules)};
}

NftChain quic_chain() {
  std::vector<NftRule> rules;
  for (const QuicVersions& versions : kQuicVersions) {
    NftRule rule;
    if (rules.empty()) rule.heading = "versions of QUIC";
    rule.quic_versions = versions;
    rule.outcome = Jump{kJudgeChain};
    rules.push_back(std::move(rule));
  }
  return {kQuicChain, nullptr, 0, Hook::output, std::move(rules)};
}

/// On the ports only on which programs that fall back to TCP are met.
NftRule perhaps_quic(const Ruleset& ruleset) {
  NftRule rule;
  rule.transport = Transport::udp;
  rule.ports = ruleset.ports;
  rule.long_header = true;
  rule.untracked_yet = true;
  rule.outcome = Jump{kQuicChain};
  return rule;
}

NftChain first_chain(const Ruleset& ruleset) {
  NftRule tcp;
  tcp.heading = "first packets only";
  tcp.transport = Transport::syn;
  tcp.outcome = Jump{kJudgeChain};
  std::vector<NftRule> rules{std::move(tcp)};
  if (ruleset.queueing->quic) rules.push_back(perhaps_quic(ruleset));
  if (!ruleset.queueing->dns_groups.empty()) {
    NftRule question;
    question.heading = "questions to name servers";
    question.transport = Transport::udp;
    question.ports = {{kDnsPort, kDnsPort}};
    question.outcome = Jump{kQuestionsChain};
    rules.push_back(std::move(question));
  }
  return {kFirstChain, "filter", kFirstPriority, Hook::output, std::move(rules)};
}

NftChain questions_chain(const std::vector<std::uint16_t>& groups) {
  std::vector<NftRule> rules;
  for (const auto group : groups) {
    NftRule copy;
    if (rules.empty()) copy.heading = "copies, by CPU";
    copy.cpu = static_cast<std::uint32_t>(rules.size());
    copy.limit = kCopyLimit;
    copy.outcome = Copy{group};
    rules.push_back(std::move(copy));
  }
  return {kQuestionsChain, nullptr, 0, Hook::output, std::move(rules)};
}

/// Only what answers one of this machine's own questions: any host on the network can send
/// datagrams from that port.
NftChain answers_chain(std::uint16_t group) {
  NftRule answer;
  answer.heading = "copies of their answers";
  answer.transport = Transport::udp;
  answer.source_port = kDnsPort;
  answer.reply = true;
  answer.limit = kCopyLimit;
  answer.outcome = Copy{group};
  return {kAnswersChain, "filter", kFirstPriority, Hook::input, {std::move(answer)}};
}

}  // namespace

std::vector<NftChain> nft_chains(const Ruleset& ruleset) {
  std::vector<NftChain> chains{zone_chain(ruleset)};
  if (ruleset.queueing) {
    const auto& groups = ruleset.queueing->dns_groups;
    chains.push_back(judge_chain(ruleset));
    if (ruleset.queueing->quic) chains.push_back(quic_chain());
    if (!groups.empty()) chains.push_back(questions_chain(groups));
    chains.push_back(first_chain(ruleset));
    if (!groups.empty()) chains.push_back(answers_chain(ruleset.queueing->dns_answers));
  }
  chains.push_back(divert_chain(ruleset));
  return chains;
}

std::vector<NftChain> copying_chains(std::uint16_t group) {
  NftRule tcp;
  tcp.heading = "first packets of connections";
  tcp.transport = Transport::syn;
  NftRule quic;
  quic.transport = Transport::udp;
  quic.long_header = true;
  NftRule question;
  question.heading = "questions to name servers";
  question.transport = Transport::udp;
  question.ports = {{kDnsPort, kDnsPort}};
  question.limit = kCopyLimit;
  // Without `reply`, which would switch connection tracking on: whether it answers a question is
  // for the reader of the copies to tell.
  NftRule answer;
  answer.heading = "and their answers";
  answer.transport = Transport::udp;
  answer.source_port = kDnsPort;
  answer.limit = kCopyLimit;
  for (NftRule* rule : {&tcp, &quic, &question, &answer}) rule->outcome = Copy{group};
  return {{kCopyChain,
           "filter",
           kCopyPriority,
           Hook::output,
           {std::move(tcp), std::move(quic), std::move(question)}},
          {kAnswersChain, "filter", kCopyPriority, Hook::input, {std::move(answer)}}};
}

}  // namespace pfctl
