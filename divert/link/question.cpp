#include "divert/link/question.h"

#include <cstring>

namespace divert {

std::optional<Asking> question_in(std::string_view message, const ListeningAt& at) {
  wire::Question question;
  if (message.size() != sizeof question) return {};
  std::memcpy(&question, message.data(), sizeof question);
  const auto peer = wire::unpack(question.peer);
  const auto local = wire::unpack(question.local);
  if (!peer || !local || peer->address().is_v4() != local->address().is_v4()) return {};
  const bool v4 = local->address().is_v4();
  const std::uint16_t port = v4 ? at.port_v4 : at.port_v6;
  if (port == 0 || local->port() != port || local->address() != (v4 ? at.v4 : at.v6)) return {};
  return Asking{question.id, *peer, *local};
}

bool was_diverted(const pfctl::OriginalTuple& original, const Asking& asking) {
  return original.destination != asking.local;
}

}  // namespace divert
