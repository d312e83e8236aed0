// The way in on macOS and FreeBSD: BsdAttribution over the machine's own calls.
#include "procmap/attribution.h"
#include "procmap/bsd_attribution.h"

namespace procmap {

class Attributor::State {
 public:
  explicit State(BsdSystem system) : attribution(std::move(system)) {}
  BsdAttribution attribution;
};

base::Result<Attributor> Attributor::open() {
  auto system = open_bsd_system();
  if (!system) return system.error();
  auto state = std::make_unique<State>(std::move(*system));
  if (const auto readable = state->attribution.probe(); !readable) return readable.error();
  return Attributor{std::move(state)};
}

Attributor::Attributor(std::unique_ptr<State> state) : state_(std::move(state)) {}
Attributor::Attributor(Attributor&&) noexcept = default;
Attributor& Attributor::operator=(Attributor&&) noexcept = default;
Attributor::~Attributor() = default;

Owner Attributor::owner_of(const base::Endpoint& source, const base::Endpoint& destination,
                           std::chrono::milliseconds limit, Transport transport) {
  return state_->attribution.owner_of(source, destination, limit, transport);
}

std::optional<Owner> Attributor::owner_soon(const base::Endpoint& source, const base::Endpoint& destination,
                                            Transport transport) {
  return state_->attribution.owner_soon(source, destination, transport);
}

// The kernel's table names the holder, as soon for this Attributor as for any other.
void Attributor::learn(const Owner&) {}

std::shared_ptr<const ProcessFacts> Attributor::facts_of(pid_t pid) {
  return state_->attribution.facts_of(pid);
}

base::Result<std::vector<SocketRow>> socket_table(Attributor& attributor) {
  return attributor.state_->attribution.table();
}

}  // namespace procmap
