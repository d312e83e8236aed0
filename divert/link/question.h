// What of the worker's questions the broker answers. The worker parses what strangers send; should
// it be taken over, it learns nothing about connections that are not its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/network.h"
#include "divert/link/wire.h"
#include "pfctl/original_tuple.h"

namespace divert {

/// Where our listeners are. Port 0: none of that family.
struct ListeningAt {
  base::Address v4;
  base::Address v6;
  std::uint16_t port_v4 = 0;
  std::uint16_t port_v6 = 0;
};

/// A question that may be answered: about a connection that has come to one of our listeners,
/// address and port.
struct Asking {
  std::uint64_t id = 0;
  base::Endpoint peer;
  base::Endpoint local;
};

/// Empty: `message` is no question, or one about another connection; it is answered nothing.
[[nodiscard]] std::optional<Asking> question_in(std::string_view message, const ListeningAt& at);

/// Whether rules of ours have brought it: it wanted to go elsewhere. A direct visitor
/// of a listener is not looked up.
[[nodiscard]] bool was_diverted(const pfctl::OriginalTuple& original, const Asking& asking);

}  // namespace divert
