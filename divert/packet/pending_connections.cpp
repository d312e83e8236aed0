// One entry per connection in the making. It is erased when its packet passes, when its decision
// has been handed out at the accept, or when its time has come.
#include "divert/packet/pending_connections.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fmt/format.h>
#include <net/if.h>

namespace divert {
namespace {

std::string device_name(std::uint32_t index) {
  std::array<char, IF_NAMESIZE> name{};
  return ::if_indextoname(index, name.data()) ? std::string(name.data()) : fmt::format("{}", index);
}

}  // namespace

std::optional<pfctl::Refusal> refusal_for(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
      return pfctl::Refusal::reset;
    case ENETUNREACH:
      return pfctl::Refusal::no_route;
    case EHOSTUNREACH:
    case EHOSTDOWN:  // FreeBSD, macOS: no answer to ARP
      return pfctl::Refusal::host_unreachable;
    case EACCES:
    case EPERM:  // a firewall of this machine
      return pfctl::Refusal::prohibited;
    default:
      return std::nullopt;
  }
}

procmap::SocketQuery sought(const FlowKey& key, std::uint32_t interface) {
  const auto transport = key.udp ? procmap::Transport::udp : procmap::Transport::tcp;
  return {key.source, key.destination, transport, interface};
}

bool concerns_us(const Ruling& ruling) {
  return ruling.verdict.action == Action::intercept || !ruling.verdict.by_host.empty();
}

void pass_when_bound(Ruling& ruling) {
  const bool bound = ruling.owner.socket && ruling.owner.socket->interface != 0;
  if (!bound || !concerns_us(ruling)) return;
  // A name is not going to be known; without one, what the rules say holds.
  ruling.verdict.by_host.clear();
  if (ruling.verdict.action != Action::intercept) return;
  ruling.bound = true;
  ruling.verdict.action = Action::pass;
  ruling.verdict.reason =
      "its socket is bound to the device " + device_name(ruling.owner.socket->interface);
}

bool passes_unseen(const Ruling& ruling) {
  const Verdict& verdict = ruling.verdict;
  return ruling.owner.in_time && !concerns_us(ruling) && verdict.action != Action::block &&
         verdict.rule == Verdict::kNoRule && !ruling.bound;
}

PendingConnections::Entry* PendingConnections::current(const FlowKey& key, std::uint64_t token) {
  const auto found = entries_.find(key);
  return found != entries_.end() && found->second.token == token ? &found->second : nullptr;
}

void PendingConnections::set_due(const FlowKey& key, Entry& entry, Time due) {
  entry.due = due;
  timers_.emplace(due, std::pair{key, entry.token});
}

void PendingConnections::arrive(const FlowKey& key, std::uint32_t sequence,
                                const HeldPacket& packet, Time now, Effects& effects, Reach reach,
                                std::optional<Ruling> ruling) {
  if (const auto found = entries_.find(key); found != entries_.end()) {
    Entry& entry = found->second;
    if (entry.sequence == sequence) return came_again(key, entry, packet, now, effects);
    // Another connection from the same port: the program has given the first one up.
    if (entry.held) {
      ++counts_.abandoned;
      effects.push_back(ReleasePacket{*entry.held, Release::drop});
    }
    entries_.erase(found);
  }
  const bool waits = key.udp || reach == Reach::none_and_rules;
  const bool passes = !waits && reach == Reach::none;
  if (entries_.size() >= kMaxEntries && passes) {
    ++counts_.bound_unseen;
    return effects.push_back(ReleasePacket{packet, Release::pass});
  }
  if (entries_.size() >= kMaxEntries) {
    ++(waits ? counts_.crowded : counts_.overflows);
    effects.push_back(ReleasePacket{packet, waits ? Release::drop : Release::divert});
    return;
  }
  Entry& entry = entries_[key];
  entry.sequence = sequence;
  entry.token = next_token_++;
  entry.held = packet;
  entry.waits = waits;
  entry.passes = passes;
  // The lookup's own limit has to do.
  set_due(key, entry, now + (waits ? kUpstreamTimeout : kLookupTimeout));
  if (ruling) return settle(key, entry.token, std::move(*ruling), now, effects);
  effects.push_back(LookUp{key, entry.token, packet.interface, packet.gid});
}

void PendingConnections::came_again(const FlowKey& key, Entry& entry, const HeldPacket& packet,
                                    Time now, Effects& effects) {
  switch (entry.state) {
    case State::looking_up:
    case State::connecting:
      if (key.udp) {
        // Not the same again, but the next one.
        if (entry.more.size() + 1 < kHeldDatagrams) return entry.more.push_back(packet);
        ++counts_.crowded;
        effects.push_back(ReleasePacket{packet, Release::drop});
      } else if (entry.held) {
        ++counts_.retransmissions;
        effects.push_back(ReleasePacket{packet, Release::drop});
      } else if (entry.state == State::connecting) {
        entry.held = packet;
        set_due(key, entry, now + kUpstreamTimeout);
      } else {
        effects.push_back(ReleasePacket{packet, Release::divert});
      }
      return;
    case State::unanswered:
      // The program is more patient than the attempt was.
      entry.state = State::connecting;
      entry.held = packet;
      entry.token = next_token_++;
      set_due(key, entry, now + kUpstreamTimeout);
      effects.push_back(ConnectAhead{key, entry.token, *entry.ruling, true});
      return;
    case State::standing:
      effects.push_back(ReleasePacket{packet, Release::divert});
      return;
    case State::refused:
      effects.push_back(Refuse{packet, entry.refusal});
      return;
  }
}

void PendingConnections::settle(const FlowKey& key, std::uint64_t token, Ruling ruling, Time now,
                                Effects& effects) {
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.token != token) return;
  pass_when_bound(ruling);
  if (key.udp) return settle_udp(found, std::move(ruling), effects);
  Entry& entry = found->second;
  if (!entry.held) {
    // Too late for the packet: the listener has it, or is about to have it.
    if (entry.waiter) {
      effects.push_back(Reply{key, *entry.waiter, std::move(ruling)});
      entries_.erase(found);
      return;
    }
    entry.state = State::standing;
    entry.ruling = std::move(ruling);
    return set_due(key, entry, now + kDecisionTtl);
  }
  const HeldPacket packet = *entry.held;
  if (concerns_us(ruling)) {
    entry.state = State::connecting;
    entry.ruling = ruling;
    set_due(key, entry, now + kUpstreamTimeout);
    effects.push_back(ConnectAhead{key, token, std::move(ruling)});
    return;
  }
  entries_.erase(found);
  if (ruling.verdict.action == Action::block) {
    effects.push_back(Refuse{packet, pfctl::Refusal::reset});
    effects.push_back(Show{key, std::move(ruling)});
    return;
  }
  effects.push_back(ReleasePacket{packet, Release::pass});
  if (!passes_unseen(ruling)) effects.push_back(Show{key, std::move(ruling)});
}

/// Only QUIC comes here. A program that is intercepted is to fall back to TCP.
void PendingConnections::settle_udp(Entries::iterator found, Ruling ruling, Effects& effects) {
  const Entry entry = std::move(found->second);
  const FlowKey key = found->first;
  entries_.erase(found);
  if (!entry.held) return;
  const bool blocked = ruling.verdict.action == Action::block;
  const bool refused = blocked || concerns_us(ruling);
  const auto let_go = [&](const HeldPacket& packet) {
    if (refused) {
      effects.push_back(Refuse{packet, pfctl::Refusal::port_unreachable});
    } else {
      effects.push_back(ReleasePacket{packet, Release::pass});
    }
  };
  let_go(*entry.held);
  for (const HeldPacket& packet : entry.more) let_go(packet);
  if (blocked) {
    effects.push_back(Show{key, std::move(ruling)});
  } else if (refused) {
    effects.push_back(QuicRefused{key, std::move(ruling)});
  }
}

void PendingConnections::connected(const FlowKey& key, std::uint64_t token, int error, Time now,
                                   Effects& effects) {
  Entry* entry = current(key, token);
  if (!entry || entry->state != State::connecting) return;
  if (error == ETIMEDOUT) {
    // The server does not answer, and so the program gets no answer until its own timeout.
    if (entry->held) {
      ++counts_.late_upstreams;
      effects.push_back(ReleasePacket{*entry->held, Release::drop});
      entry->held.reset();
    }
    entry->state = State::unanswered;
    return set_due(key, *entry, now + kAttemptTtl);
  }
  const auto refusal = refusal_for(error);
  entry->state = refusal ? State::refused : State::standing;
  entry->upstream = error == 0;
  if (refusal) entry->refusal = *refusal;
  if (entry->held) {
    const HeldPacket packet = *entry->held;
    entry->held.reset();
    if (refusal) {
      effects.push_back(Refuse{packet, *refusal});
      entries_.erase(key);
      return;
    }
    effects.push_back(ReleasePacket{packet, Release::divert});
  }
  set_due(key, *entry, now + kDecisionTtl);
}

bool PendingConnections::accepted(const FlowKey& key, const PendingQuestion& waiter,
                                  Effects& effects) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  Entry& entry = found->second;
  if (!entry.ruling) {
    entry.waiter = waiter;
    return true;
  }
  const std::uint64_t upstream = entry.upstream ? entry.token : 0;
  effects.push_back(Reply{key, waiter, std::move(*entry.ruling), upstream});
  entries_.erase(found);
  return true;
}

void PendingConnections::expire(Time now, Effects& effects) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    const auto [due, timer] = *timers_.begin();
    timers_.erase(timers_.begin());
    const auto found = entries_.find(timer.first);
    const bool current = found != entries_.end() && found->second.token == timer.second;
    if (current && found->second.due == due) overdue(found, effects);
  }
}

void PendingConnections::overdue(Entries::iterator found, Effects& effects) {
  auto& [key, entry] = *found;
  if (!entry.held) {
    // Lookups end by themselves, and an accepted connection may be waiting for this one.
    if (entry.state != State::looking_up) entries_.erase(found);
    return;
  }
  const HeldPacket packet = *entry.held;
  entry.held.reset();
  if (entry.waits && entry.state == State::looking_up) {
    counts_.unowned += 1 + entry.more.size();
    effects.push_back(ReleasePacket{packet, Release::drop});
    for (const HeldPacket& other : entry.more)
      effects.push_back(ReleasePacket{other, Release::drop});
    entries_.erase(found);
  } else if (entry.passes && entry.state == State::looking_up) {
    ++counts_.bound_unseen;
    effects.push_back(ReleasePacket{packet, Release::pass});
    entries_.erase(found);
  } else if (entry.state == State::looking_up) {
    ++counts_.late_lookups;
    effects.push_back(ReleasePacket{packet, Release::divert});
  } else {
    ++counts_.late_upstreams;
    effects.push_back(ReleasePacket{packet, Release::drop});
    set_due(key, entry, entry.due + kAttemptTtl);
  }
}

std::optional<PendingConnections::Time> PendingConnections::next_due() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first;
}

void PendingConnections::release_all(Effects& effects) {
  for (auto& [key, entry] : entries_) {
    // One that has waited for its upstream may have no program any more, and then other rules
    // cannot ask who that was (meta skuid): it would get out. The others wait for a moment only.
    const bool long_held = entry.state == State::connecting;
    if (entry.held)
      effects.push_back(ReleasePacket{*entry.held, long_held ? Release::drop : Release::pass});
    for (const HeldPacket& packet : entry.more)
      effects.push_back(ReleasePacket{packet, Release::pass});
  }
  std::erase_if(entries_, [](const auto& each) { return !each.second.waiter; });
  timers_.clear();
}

}  // namespace divert
