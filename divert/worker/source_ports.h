// Source ports for our own connections to this machine, where pf can tell them by nothing else
// (pfctl::own_source_ports).
#pragma once

#include <atomic>
#include <optional>

#include "base/network.h"

namespace divert {

class SourcePorts {
 public:
  explicit SourcePorts(base::PortRange range) : range_(range) {}

  /// Binds `socket`, which is not bound yet, to the next free port when `destination` is an address
  /// of this machine, and to that address: what connect(2) would take. Other destinations: does
  /// nothing. Returns 0 or errno; EADDRINUSE: every port is taken. From any thread.
  [[nodiscard]] int bind(int socket, const base::Endpoint& destination);

 private:
  base::PortRange range_;
  std::atomic<unsigned> next_{0};
};

/// What the rules want of this process: once, before it has threads. Empty: nothing.
void use_source_ports(std::optional<base::PortRange> range);
/// To be called before each connect(2) of ours. Returns 0 or errno, as above.
[[nodiscard]] int bind_source_port(int socket, const base::Endpoint& destination);

}  // namespace divert
