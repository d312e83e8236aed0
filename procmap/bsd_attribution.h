// Attribution where the kernel gives its sockets as one table (macOS, FreeBSD): the decisions,
// without the calls.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "base/error.h"
#include "procmap/bsd_socket.h"
#include "procmap/owner.h"
#include "procmap/process_cache.h"
#include "procmap/snapshot.h"

namespace procmap {

/// A process and the number of the socket in it.
struct BsdHolder {
  pid_t pid = 0;        ///< 0: not known
  int descriptor = -1;  ///< -1: not known
};

/// The calls; replaced in tests.
struct BsdSystem {
  using Deadline = std::chrono::steady_clock::time_point;

  std::function<base::Result<BsdTable>(Transport)> sockets;
  /// By what the kernel's tables say, without a search.
  std::function<BsdHolder(const BsdSocket&)> holder;
  /// Through all processes, for milliseconds and until `deadline` at most. Empty where `holder`
  /// knows all.
  std::function<BsdHolder(const BsdSocket&, Transport, Deadline)> search;
  ProcessSource processes;
};

/// The machine's: attribution_darwin.cpp, attribution_freebsd.cpp.
[[nodiscard]] base::Result<BsdSystem> open_bsd_system();

/// What Attributor promises. Not thread-safe.
class BsdAttribution {
 public:
  explicit BsdAttribution(
      BsdSystem system,
      Snapshot<BsdTable>::Now now = [] { return std::chrono::steady_clock::now(); });

  BsdAttribution(const BsdAttribution&) = delete;
  BsdAttribution& operator=(const BsdAttribution&) = delete;

  /// Whether the kernel's table can be read at all.
  [[nodiscard]] base::Result<> probe();

  Owner owner_of(const base::Endpoint& source, const base::Endpoint& destination,
                 std::chrono::milliseconds limit, Transport transport);
  std::optional<Owner> cached_owner(const base::Endpoint& source, const base::Endpoint& destination,
                                    Transport transport);
  void learn(const Owner& owner);
  std::shared_ptr<const ProcessFacts> facts_of(pid_t pid);
  base::Result<std::vector<SocketRow>> table();

 private:
  std::optional<BsdSocket> socket_of(const base::Endpoint& source,
                                     const base::Endpoint& destination, Transport transport);
  Owner held_by(const BsdSocket& socket, const BsdHolder& holder);

  BsdSystem system_;
  Snapshot<BsdTable> tcp_;
  Snapshot<BsdTable> udp_;
  ProcessCache processes_;
};

}  // namespace procmap
