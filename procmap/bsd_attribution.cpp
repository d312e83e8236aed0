// The table names the socket and, on macOS, the process that used it last; FreeBSD's table of open
// files names the holders. A search through all processes is left for sockets that were handed on.
#include "procmap/bsd_attribution.h"

namespace procmap {
namespace {

/// A table that changed while it was written may lack sockets; on a busy machine every one does.
constexpr int kReads = 3;

base::Result<BsdTable> steady_table(const BsdSystem& system, Transport transport) {
  auto table = system.sockets(transport);
  for (int i = 1; i < kReads && table && table->changed; ++i) table = system.sockets(transport);
  return table;
}

SocketFacts facts_of_socket(const BsdSocket& socket) {
  SocketFacts facts;
  facts.uid = socket.uid;
  return facts;
}

}  // namespace

BsdAttribution::BsdAttribution(BsdSystem system, Snapshot<BsdTable>::Now now)
    : system_(std::move(system)),
      tcp_([this] { return steady_table(system_, Transport::tcp); }, now),
      udp_([this] { return steady_table(system_, Transport::udp); }, now),
      processes_(system_.processes) {}

base::Result<> BsdAttribution::probe() {
  const auto table = tcp_.fresh();
  if (!table) return table.error();
  return {};
}

Owner BsdAttribution::owner_of(const base::Endpoint& source, const base::Endpoint& destination,
                               std::chrono::milliseconds limit, Transport transport) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const auto socket = socket_of(source, destination, transport);
  if (!socket) return {};
  auto owner = held_by(*socket, system_.holder(*socket));
  if (!owner.process && system_.search)
    owner = held_by(*socket, system_.search(*socket, transport, deadline));
  return owner;
}

std::optional<Owner> BsdAttribution::cached_owner(const base::Endpoint& source,
                                                  const base::Endpoint& destination,
                                                  Transport transport) {
  const auto socket = socket_of(source, destination, transport);
  if (!socket) return Owner{};
  const BsdHolder holder = system_.holder(*socket);
  Owner owner{facts_of_socket(*socket), nullptr};
  if (holder.pid > 0) {
    owner.process = processes_.kept_facts_of(holder.pid);
    if (!owner.process) return std::nullopt;
    owner.descriptor = holder.descriptor;
  }
  if (!owner.process && system_.search) return std::nullopt;
  return owner;
}

void BsdAttribution::learn(const Owner& owner) {
  if (owner.process) processes_.learn(owner.process);
}

std::shared_ptr<const ProcessFacts> BsdAttribution::facts_of(pid_t pid) {
  return processes_.facts_of(pid);
}

base::Result<std::vector<SocketRow>> BsdAttribution::table() {
  const auto sockets = tcp_.fresh();
  if (!sockets) return sockets.error();
  std::vector<SocketRow> rows;
  for (const auto& socket : (*sockets)->sockets)
    rows.push_back({socket.local, socket.remote, bsd_state_name(socket.state),
                    held_by(socket, system_.holder(socket))});
  return rows;
}

/// A table that cannot be read now (memory is short) is as good as a socket that is not in it:
/// unknown.
std::optional<BsdSocket> BsdAttribution::socket_of(const base::Endpoint& source,
                                                   const base::Endpoint& destination,
                                                   Transport transport) {
  auto& tables = transport == Transport::tcp ? tcp_ : udp_;
  const auto found = tables.find([&](const BsdTable& table) {
    return find_socket(table.sockets, source, destination, transport);
  });
  return found && *found ? std::optional{**found} : std::nullopt;
}

Owner BsdAttribution::held_by(const BsdSocket& socket, const BsdHolder& holder) {
  Owner owner{facts_of_socket(socket), nullptr};
  if (holder.pid <= 0) return owner;
  owner.process = processes_.facts_of(holder.pid);
  if (owner.process) owner.descriptor = holder.descriptor;
  return owner;
}

}  // namespace procmap
