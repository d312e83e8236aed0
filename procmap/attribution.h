// Socket -> process. The room's main entry.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/network.h"
#include "procmap/owner.h"
#include "procmap/process.h"

namespace procmap {

/// Answers from caches where it can. Not thread-safe; blocks (usually microseconds, never longer
/// than `limit`). Sees all processes only as root (Linux: CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH).
class Attributor {
 public:
  [[nodiscard]] static base::Result<Attributor> open();
  Attributor(Attributor&&) noexcept;
  Attributor& operator=(Attributor&&) noexcept;
  ~Attributor();

  /// Works from SYN_SENT on.
  [[nodiscard]] Owner owner_of(const SocketQuery& sought,
                               std::chrono::milliseconds limit = std::chrono::milliseconds{200});

  /// The owners of several, in their order. What takes a search is searched for once for all of
  /// them: however many there are, it takes no longer than for one.
  [[nodiscard]] std::vector<Owner> owners_of(std::span<const SocketQuery> sought,
                                             std::chrono::milliseconds limit);

  /// The same as far as a few system calls that cannot block will do.
  [[nodiscard]] CachedOwner cached_owner(const SocketQuery& sought);
  /// Tells this one what another has found, so that it is found soon the next time.
  void learn(const Owner& owner);

  /// Facts of a process that lives now, cached by (pid, start time); null when there is no such
  /// process.
  [[nodiscard]] std::shared_ptr<const ProcessFacts> facts_of(pid_t pid);

 private:
  friend base::Result<std::vector<struct SocketRow>> socket_table(Attributor&);
  class State;
  explicit Attributor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// All TCP sockets of this network namespace (Linux) or machine with their owners: one dump, on
/// Linux one walk over /proc. Blocks for milliseconds.
[[nodiscard]] base::Result<std::vector<SocketRow>> socket_table(Attributor& attributor);

}  // namespace procmap
