// The way of one diverted connection, stage by stage. Each stage takes the value of the stage before it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <set>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "divert/broker_link.h"
#include "divert/connection.h"
#include "divert/upstreams.h"

namespace divert {

/// A connection that a listener has just accepted.
struct Accepted {
  boost::asio::ip::tcp::socket socket;
  base::Endpoint peer;
  base::Endpoint local;
};

/// The broker has said where it wanted to go, who it is and what is to be done.
struct Decided {
  boost::asio::ip::tcp::socket socket;
  Connection connection;
  std::uint64_t upstream = 0;  ///< token in Upstreams; 0: to be connected
};

/// Source ports of our own outgoing connections, by context-free atomics: the third guard against loops asks
/// it.
class OwnPorts {
 public:
  void add(std::uint16_t port) { ports_[port].fetch_add(1, std::memory_order_relaxed); }
  void remove(std::uint16_t port) { ports_[port].fetch_sub(1, std::memory_order_relaxed); }
  [[nodiscard]] bool contains(std::uint16_t port) const {
    return ports_[port].load(std::memory_order_relaxed) > 0;
  }

 private:
  std::array<std::atomic<std::uint16_t>, 65536> ports_{};
};

/// What one context of the worker has for its connections.
struct Room {
  BrokerLink& broker;
  Interceptor& interceptor;
  Watcher& watcher;
  OwnPorts& own_ports;
  Upstreams& upstreams;
  std::uint16_t listener_v4 = 0;
  std::uint16_t listener_v6 = 0;
  std::atomic<int>& intercepted;  ///< connections under interception now, over all contexts
  std::function<void(const Connection&)> loop_seen;  ///< our own connection came back in
  bool ending = false;
  std::multiset<int> dialing;  ///< sockets of connect_ahead() that are not connected yet
  std::atomic<int>& open;      ///< connections and attempts, over all contexts
};

/// accepted -> (broker: routed, attributed, decided) -> passed, blocked or intercepted. Returns when the
/// connection has ended.
boost::asio::awaitable<void> carry(Accepted accepted, Room& room);

/// The packet engine holds a program's first packet: connects to its destination and tells the broker how
/// that went. What stands goes to `room.upstreams`, what fails is reported as a flow.
boost::asio::awaitable<void> connect_ahead(wire::Answer order, Room& room);

/// A connection that the packet engine has let pass, or refused; a datagram that it has heard.
void show(wire::Answer order, Room& room);

}  // namespace divert
