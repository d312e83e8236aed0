// Where did a diverted connection want to go, and from where did it come?
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"
#include "base/fd.h"
#include "base/network.h"
#include "pfctl/original_tuple.h"

namespace pfctl {

/// Asks the kernel's translation table. One socket kept open; not thread-safe; blocks for
/// microseconds.
class Natlook {
 public:
  [[nodiscard]] static base::Result<Natlook> open();

  /// `peer` and `local`: the two ends of a socket that one of our listeners accepted. The peer is
  /// not always the program's own address: conntrack rewrites the source port when two connections
  /// would collapse into one tuple. Empty when the kernel knows no such connection. A direct
  /// visitor has itself as original: destination == local.
  [[nodiscard]] base::Result<std::optional<OriginalTuple>> lookup(const base::Endpoint& peer,
                                                                  const base::Endpoint& local);

 private:
  explicit Natlook(base::UniqueFd socket) : socket_(std::move(socket)) {}

  base::UniqueFd socket_;
  [[maybe_unused]] std::uint32_t sequence_ = 0;  // of netlink
};

}  // namespace pfctl
