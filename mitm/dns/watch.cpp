#include "mitm/dns/watch.h"

#include <algorithm>

namespace mitm::dns {
namespace {

/// The question, or, in an answer, all of it.
void describe(const Message& message, flow::DnsFlow& flow) {
  if (!message.name.empty()) {
    flow.name = message.name;
    flow.type = message.type;
  }
  if (!message.response) return;
  flow.rcode = message.rcode;
  for (const Record& record : message.answers)
    flow.answers.push_back({record.name, record.type, record.ttl, record.data});
}

void end(flow::DnsFlow& flow, std::chrono::steady_clock::duration lasted) {
  // Copies of two CPUs may be taken in the wrong order.
  flow.duration = std::chrono::duration_cast<std::chrono::microseconds>(std::max(lasted, {}));
}

}  // namespace

std::shared_ptr<flow::DnsFlow> Watch::asked(const divert::Connection& connection,
                                            const Message& message, std::size_t bytes, Time now,
                                            std::shared_ptr<flow::DnsFlow> flow) {
  const Key key{connection.client, connection.server, message.id};
  describe(message, *flow);
  if (message.name.empty()) flow->type = message.type;
  flow->request_bytes = bytes;
  // Asked again: the first question counts, its answer may still come.
  questions_.try_emplace(key, Question{std::move(flow), now, false});
  const auto early = early_.extract(key);
  if (!early) return nullptr;
  early_bytes_ -= early.mapped().bytes;
  return answered(connection, early.mapped().message, early.mapped().bytes, now);
}

std::shared_ptr<flow::DnsFlow> Watch::answered(const divert::Connection& connection,
                                               const Message& message, std::size_t bytes,
                                               Time now) {
  const Key key{connection.client, connection.server, message.id};
  auto question = questions_.extract(key);
  if (!question) {
    keep_early(key, message, bytes, now);
    return nullptr;
  }
  auto flow = std::move(question.mapped().flow);
  describe(message, *flow);
  if (!message.name.empty()) names_->learn(message);
  flow->response_bytes = bytes;
  if (message.truncated)
    flow->error = "the answer was cut short; the program will ask again by TCP";
  end(*flow, now - question.mapped().asked);
  return flow;
}

/// Resolvers pass over what they cannot read, and wait for an answer. So do we: it is reported when
/// none comes.
void Watch::malformed(const divert::Connection& connection, std::string_view payload) {
  const auto mark = [&](std::uint16_t first, std::uint16_t last) {
    const auto end = questions_.upper_bound({connection.client, connection.server, last});
    for (auto at = questions_.lower_bound({connection.client, connection.server, first}); at != end;
         ++at)
      at->second.malformed = true;
  };
  if (payload.size() < 2) return mark(0, 0xffff);  // to whichever
  const auto id = static_cast<std::uint16_t>(static_cast<unsigned char>(payload[0]) << 8 |
                                             static_cast<unsigned char>(payload[1]));
  mark(id, id);
}

void Watch::keep_early(const Key& key, const Message& message, std::size_t bytes, Time now) {
  if (early_.size() >= kMax || early_bytes_ + bytes > kMaxEarly) return;
  if (early_.try_emplace(key, Early{message, bytes, now}).second) early_bytes_ += bytes;
}

std::size_t Watch::held() const {
  constexpr std::size_t kQuestion = sizeof(flow::DnsFlow) + 512, kUnpacked = 4;
  return questions_.size() * kQuestion + early_bytes_ * kUnpacked;
}

std::vector<std::shared_ptr<flow::DnsFlow>> Watch::expired(Time now, Time::duration patience) {
  std::erase_if(early_, [&](const auto& entry) {
    const bool old = now - entry.second.came >= patience;
    if (old) early_bytes_ -= entry.second.bytes;
    return old;
  });
  std::vector<std::shared_ptr<flow::DnsFlow>> flows;
  for (auto at = questions_.begin(); at != questions_.end();) {
    if (now - at->second.asked < patience) {
      ++at;
      continue;
    }
    auto& flow = at->second.flow;
    flow->error = at->second.malformed ? "malformed answer" : "no answer";
    end(*flow, now - at->second.asked);
    flows.push_back(std::move(flow));
    at = questions_.erase(at);
  }
  return flows;
}

}  // namespace mitm::dns
