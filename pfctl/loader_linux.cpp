// Puts the table into the kernel in one batch over a netlink socket that then owns it, and finds
// out who owns the one that is there.
#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fd.h"
#include "pfctl/loader.h"
#include "pfctl/netlink_port.h"
#include "pfctl/netlink_socket.h"
#include "pfctl/nft_answers.h"
#include "pfctl/nft_messages.h"
#include "pfctl/other_rules.h"

namespace pfctl {
namespace {

constexpr std::size_t kAnswerRoom = 16 << 10;
constexpr std::uint32_t kQuerySequence = 1;

struct AnswerBuffer {
  alignas(8) std::array<char, kAnswerRoom> bytes;
};

std::string kernel_release() {
  utsname names{};
  return ::uname(&names) == 0 ? names.release : "(unknown)";
}

// A batch goes in one datagram, however many networks are excluded.
base::Result<> make_room(int socket, std::size_t bytes) {
  constexpr int kMargin = 64 << 10;
  const int size = static_cast<int>(bytes) + kMargin;
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == 0) return {};
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0) return {};
  return base::os_error("cannot make room for the packet-filter rules", errno);
}

// What the kernel said against the batch; empty: it is in place. Errors come in the order of the
// messages, and all of them before the acknowledgement of the last one.
base::Result<std::optional<Ack>> commit(int socket, const Batch& batch) {
  if (auto room = make_room(socket, batch.bytes.size()); !room) return room.error();
  if (auto sent = send_datagram(socket, batch.bytes); !sent) return sent.error();
  AnswerBuffer buffer;
  for (;;) {
    const auto length = receive_datagram(socket, buffer.bytes);
    if (!length) return length.error();
    const auto acks = parse_acks({buffer.bytes.data(), *length});
    if (!acks) return acks.error();
    for (const auto& ack : *acks) {
      if (ack.error != 0) return std::optional{ack};
      if (ack.sequence == batch.acknowledged()) return std::optional<Ack>{};
    }
  }
}

struct Attempt {
  base::UniqueFd owner;
  std::optional<Ack> refusal;
};

base::Result<Attempt> attempt(const Batch& batch) {
  auto socket = open_netfilter_socket();
  if (!socket) return socket.error();
  auto refusal = commit(socket->get(), batch);
  if (!refusal) return refusal.error();
  return Attempt{std::move(*socket), *refusal};
}

base::Result<base::UniqueFd> owned_table(const Batch& batch) {
  auto result = attempt(batch);
  if (!result) return result.error();
  if (result->refusal) return explain(batch, *result->refusal, kernel_release());
  return std::move(result->owner);
}

base::Result<TableAnswer> query_table() {
  auto socket = open_netfilter_socket();
  if (!socket) return socket.error();
  if (auto sent = send_datagram(socket->get(), table_query(kQuerySequence)); !sent)
    return sent.error();
  AnswerBuffer buffer;
  const auto length = receive_datagram(socket->get(), buffer.bytes);
  if (!length) return length.error();
  return parse_table_answer({buffer.bytes.data(), *length}, kQuerySequence);
}

}  // namespace

/// Loopback is always there.
struct RedirectTarget::Hold {};

void RedirectTarget::abandon() {}

base::Result<RedirectTarget> RedirectTarget::prepare(bool ipv4, bool ipv6) {
  const auto owner = rules_owner();
  if (!owner) return owner.error();
  if (*owner != 0) return table_in_the_way(*owner);
  using boost::asio::ip::address_v4;
  using boost::asio::ip::address_v6;
  return RedirectTarget{std::make_shared<Hold>(),
                        ipv4 ? address_v4::loopback() : address_v4::any(),
                        ipv6 ? address_v6::loopback() : address_v6::any(),
                        {}};
}

struct LoadedRules::Hold {
  [[nodiscard]] base::Result<> change(const Batch& batch, std::string_view complaint) const {
    const auto refusal = commit(owner.get(), batch);
    if (!refusal) return refusal.error();
    if (*refusal) return base::os_error(complaint, (*refusal)->error);
    return {};
  }

  base::UniqueFd owner;
  Ruleset ruleset;
  std::vector<std::string> notes;
};

LoadedRules::LoadedRules(std::unique_ptr<Hold> hold) : hold_(std::move(hold)) {}
LoadedRules::LoadedRules(LoadedRules&&) noexcept = default;
LoadedRules& LoadedRules::operator=(LoadedRules&&) noexcept = default;
LoadedRules::~LoadedRules() = default;

std::string LoadedRules::text() const {
  return render_nft(hold_->ruleset);
}

const std::vector<std::string>& LoadedRules::notes() const {
  return hold_->notes;
}

base::Result<> LoadedRules::stop_diverting() {
  return hold_->change(stop_batch(hold_->ruleset), "cannot put the packet-filter rules out of use");
}

base::Result<> LoadedRules::divert_again() {
  return hold_->change(resume_batch(hold_->ruleset),
                       "cannot put the packet-filter rules into use again");
}

std::function<base::Result<Standing>()> LoadedRules::look_elsewhere() const {
  sockaddr_nl own{};
  socklen_t size = sizeof own;
  const bool known =
      ::getsockname(hold_->owner.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0;
  const int code = known ? 0 : errno;
  return [ruleset = hold_->ruleset, port = own.nl_pid, code]() -> base::Result<Standing> {
    if (code != 0) return base::os_error("cannot tell our own netlink socket", code);
    Standing standing;
    const auto table = query_table();
    if (!table) return table.error();
    standing.in_force = table->exists && table->owner == port;
    if (!standing.in_force) {
      standing.found =
          fmt::format("the table inet {} {}", kTableName,
                      table->exists ? "belongs to another process" : "has been removed");
    }
    auto conflicts = find_conflicts(ruleset);
    if (!conflicts) return conflicts.error();
    standing.conflicts = std::move(*conflicts);
    return standing;
  };
}

base::Result<LoadedRules> load_rules(const Ruleset& ruleset, const RedirectTarget& /*landing*/,
                                     const Probe& /*probe*/) {
  const Batch batch = install_batch(ruleset);
  for (bool again = true;; again = false) {
    auto result = attempt(batch);
    if (!result) return result.error();
    if (!result->refusal) {
      return LoadedRules(std::make_unique<LoadedRules::Hold>(
          LoadedRules::Hold{std::move(result->owner), ruleset, {}}));
    }
    if (!is_in_the_way(batch, *result->refusal))
      return explain(batch, *result->refusal, kernel_release());
    const auto owner = rules_owner();
    if (!owner) return owner.error();
    // Gone between the two questions: one more try.
    if (*owner == 0 && again) continue;
    return table_in_the_way(*owner);
  }
}

base::Result<base::UniqueFd> keep_translating() {
  return owned_table(nat_batch(fmt::format("{}_guard_{}", kTableName, ::getpid())));
}

base::Result<base::UniqueFd> copy_first_packets(std::uint16_t group) {
  return owned_table(copying_batch(fmt::format("{}_who_{}", kTableName, ::getpid()), group));
}

base::Result<long> rules_owner() {
  const auto answer = query_table();
  if (!answer) return answer.error();
  if (!answer->exists) return 0L;
  if (!answer->owner) return kNoOwner;
  return process_of_netfilter_port(*answer->owner).value_or(kUnseenOwner);
}

base::Result<std::vector<std::string>> remove_stale_rules() {
  const Batch batch = removal_batch();
  const auto result = attempt(batch);
  if (!result) return result.error();
  if (!result->refusal) return std::vector{fmt::format("removed the table inet {}", kTableName)};
  const Ack& refusal = *result->refusal;
  const bool table =
      batch.steps[std::min<std::size_t>(refusal.sequence, batch.acknowledged())].kind ==
      Step::Kind::table;
  // EPERM for the table itself: a living process owns it.
  if (table && (refusal.error == ENOENT || refusal.error == EPERM))
    return std::vector<std::string>{};
  return explain(batch, refusal, kernel_release());
}

void take_rules_out(long) {}

}  // namespace pfctl
