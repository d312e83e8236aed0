// Decoders for what nf_tables sends back, and the table from (message, errno) to what the user
// should do.
#include "pfctl/nft_answers.h"

#include <cerrno>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/netlink.h"
#include "pfctl/netlink_message.h"
#include "pfctl/rules_owner.h"
#include "pfctl/ruleset.h"

namespace pfctl {
namespace {

constexpr std::string_view kCutShort =
    "the kernel's answer about packet-filter rules was cut short";

using base::netlink::Message;

base::Result<Ack> parse_ack(const Message& message) {
  const auto error = message.error();
  if (!error) return base::failure("{}", kCutShort);
  return Ack{message.sequence, *error};
}

// An expression or a chain type that is not in the kernel is "not found".
std::string missing(std::string_view options, int error) {
  return error == ENOENT || error == EOPNOTSUPP ? fmt::format("; it needs {}", options) : "";
}

TableAnswer parse_table(const Message& message) {
  TableAnswer answer{true, {}};
  const auto attributes = base::netlink::behind_struct(message.body, kNfgenmsg);
  base::netlink::for_each_attribute(attributes, [&](const base::netlink::Attribute& attribute) {
    if (attribute.type == NFTA_TABLE_OWNER && attribute.value.size() == sizeof(std::uint32_t))
      answer.owner = base::netlink::network_number(attribute.value);
  });
  return answer;
}

}  // namespace

base::Result<std::vector<Ack>> parse_acks(std::string_view bytes) {
  std::vector<Ack> acks;
  while (!bytes.empty()) {
    const auto message = base::netlink::take_message(bytes);
    if (!message) return base::failure("{}", kCutShort);
    if (message->type != base::netlink::kError) continue;
    auto ack = parse_ack(*message);
    if (!ack) return ack.error();
    acks.push_back(*ack);
  }
  return acks;
}

base::Result<TableAnswer> parse_table_answer(std::string_view bytes, std::uint32_t sequence) {
  const auto message = base::netlink::take_message(bytes);
  if (!message) return base::failure("{}", kCutShort);
  if (message->sequence != sequence) return base::failure("the kernel answered another question");
  if (message->type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE)) {
    if (message->body.size() < kNfgenmsg) return base::failure("{}", kCutShort);
    return parse_table(*message);
  }
  if (message->type != base::netlink::kError)
    return base::failure("the kernel answered another question");
  auto ack = parse_ack(*message);
  if (!ack) return ack.error();
  if (ack->error == ENOENT) return TableAnswer{};
  // Without the subsystem there is no table; loading says what is missing.
  if (ack->error == EINVAL || ack->error == EOPNOTSUPP) return TableAnswer{};
  if (ack->error == EPERM) {
    return base::Error{
        "cannot read packet-filter rules: no permission; run as root (CAP_NET_ADMIN in this "
        "network namespace)",
        EPERM};
  }
  return base::os_error("cannot read packet-filter rules", ack->error);
}

base::Error table_in_the_way(long owner) {
  if (owner > 0) {
    return base::failure("another osproxy (pid {}) runs in this network namespace; end it first",
                         owner);
  }
  if (owner == kUnseenOwner) {
    return base::failure(
        "another osproxy runs in this network namespace, in a process that cannot be seen from "
        "here; end it first");
  }
  return base::failure(
      "an nftables table inet {} that belongs to no running osproxy is in the way; remove it "
      "with: osproxy cleanup",
      kTableName);
}

bool is_in_the_way(const Batch& batch, const Ack& refusal) {
  return refusal.sequence < batch.steps.size() &&
         batch.steps[refusal.sequence].kind == Step::Kind::table &&
         (refusal.error == EEXIST || refusal.error == EPERM);
}

base::Error explain(const Batch& batch, const Ack& refusal, std::string_view kernel) {
  const int error = refusal.error;
  if (error == EPERM) {
    return {
        "cannot change packet-filter rules: no permission; run as root (CAP_NET_ADMIN in this "
        "network namespace)",
        error};
  }
  const Step step = refusal.sequence < batch.steps.size() ? batch.steps[refusal.sequence] : Step{};
  const std::string reason = base::os_error("", error).text.substr(2);
  switch (step.kind) {
    case Step::Kind::table:
      if (error == EOPNOTSUPP || error == EINVAL) {
        return {fmt::format(
                    "Linux {} cannot tie packet-filter rules to a process (nf_tables flag owner); "
                    "osproxy needs Linux 5.12 or newer",
                    kernel),
                error};
      }
      return {fmt::format("cannot create the nftables table inet {}: {}", kTableName, reason),
              error};
    case Step::Kind::chain:
      return {fmt::format("Linux {} refuses a chain in the output hook: {}{}", kernel, reason,
                          missing("CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT", error)),
              error};
    case Step::Kind::rule:
      return {fmt::format(
                  "Linux {} refuses the packet-filter rule '{}': {}{}", kernel, step.rule, reason,
                  missing("CONFIG_NFT_FIB_INET, CONFIG_NFT_REDIR and CONFIG_NF_CONNTRACK_ZONES",
                          error)),
              error};
    case Step::Kind::batch:
      break;
  }
  if (error == EOPNOTSUPP || error == EINVAL) {
    return {fmt::format("Linux {} has no nf_tables (CONFIG_NF_TABLES); without it nothing can be "
                        "diverted: load the module nf_tables or use another kernel",
                        kernel),
            error};
  }
  return {fmt::format("cannot load the packet-filter rules: {}", reason), error};
}

}  // namespace pfctl
