// The way of one diverted connection, stage by stage. Each stage takes the value of the stage
// before it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <unordered_set>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "divert/link/broker_link.h"
#include "divert/packet/packet.h"
#include "divert/worker/connection.h"
#include "divert/worker/listeners.h"
#include "divert/worker/upstreams.h"

namespace divert {

/// A connection that a listener has just accepted.
struct Accepted {
  boost::asio::ip::tcp::socket socket;
  base::Endpoint peer;
  base::Endpoint local;
};

/// What upstream is to be reached by at its address.
struct ServerSocket {
  bool as_program = false;  ///< a socket of the worker's own will not do (wire::ConnectionFacts)
  base::UniqueFd given;
  base::Endpoint peer,
      local;  ///< of the accepted connection, by which the broker is asked for another
};

/// The broker has said where it wanted to go, who it is and what is to be done.
struct Decided {
  boost::asio::ip::tcp::socket socket;
  Connection connection;
  std::uint64_t upstream = 0;  ///< token in Upstreams; 0: to be connected
  ServerSocket server;
};

/// Our own outgoing connections, of all contexts: the third guard against loops asks it. Both ends
/// count: two sockets may share a port when their destinations differ.
class OwnConnections {
 public:
  void add(const FlowKey& key) {
    const std::lock_guard lock{mutex_};
    keys_.insert(key);
  }
  void remove(const FlowKey& key) {
    const std::lock_guard lock{mutex_};
    keys_.erase(keys_.find(key));
  }
  [[nodiscard]] bool contains(const FlowKey& key) const {
    const std::lock_guard lock{mutex_};
    return keys_.contains(key);
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_multiset<FlowKey, FlowKeyHash> keys_;
};

/// What one context of the worker has for its connections.
struct WorkerContext {
  BrokerLink& broker;
  Interceptor& interceptor;
  Watcher& watcher;
  OwnConnections& own;
  Upstreams& upstreams;
  const Listeners& listeners;
  std::atomic<int>& intercepted;  ///< connections under interception now, over all contexts
  std::atomic<int>& open;         ///< connections and attempts, over all contexts
  std::function<void(const Connection&)> loop_seen{};  ///< our own connection came back in
  std::function<bool()> has_descriptors{};             ///< for one more connection
  bool ending = false;
  std::multiset<int> dialing{};  ///< sockets of connect_ahead() that are not connected yet
};

/// accepted -> (broker: routed, attributed, decided) -> passed, blocked or intercepted. Returns
/// when the connection has ended.
boost::asio::awaitable<void> carry(Accepted accepted, WorkerContext& worker);

/// The packet engine holds a program's first packet: connects to its destination and tells the
/// broker how that went. What is established goes to
/// `worker.upstreams`, what fails is reported as a flow.
boost::asio::awaitable<void> connect_ahead(wire::ConnectOrder order, WorkerContext& worker);

/// A connection that the packet engine has let pass, or refused.
void show(wire::ShowOrder order, WorkerContext& worker);
void show(wire::QuicNotice notice, WorkerContext& worker);
/// A copy of a datagram between a program and a name server.
void show(wire::DnsCopy copy, WorkerContext& worker);

}  // namespace divert
