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

Owner Attributor::owner_of(const SocketQuery& sought, std::chrono::milliseconds limit) {
  return state_->attribution.owner_of(sought.source, sought.destination, limit, sought.transport);
}

// Lookups of the same millisecond share one table.
std::vector<Owner> Attributor::owners_of(std::span<const SocketQuery> sought,
                                         std::chrono::milliseconds limit) {
  std::vector<Owner> owners;
  for (const SocketQuery& one : sought) owners.push_back(owner_of(one, limit));
  return owners;
}

CachedOwner Attributor::cached_owner(const SocketQuery& sought) {
  auto owner =
      state_->attribution.cached_owner(sought.source, sought.destination, sought.transport);
  return owner ? CachedOwner{std::move(*owner)} : CachedOwner{{}, true};
}

// The kernel's table names the holder, as soon for this Attributor as for any other; the facts of
// the process are what is to be spared.
void Attributor::learn(const Owner& owner) {
  state_->attribution.learn(owner);
}

std::shared_ptr<const ProcessFacts> Attributor::facts_of(pid_t pid) {
  return state_->attribution.facts_of(pid);
}

base::Result<std::vector<SocketRow>> socket_table(Attributor& attributor) {
  return attributor.state_->attribution.table();
}

}  // namespace procmap
