// A diverted connection on its way through the stages, and the two interfaces that the next room
// implements.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/network.h"
#include "divert/policy/policy.h"
#include "procmap/process.h"

namespace divert {

/// When the server, or the proxy in front of it, was connected to; empty: not yet.
struct ConnectTimes {
  std::optional<std::chrono::system_clock::time_point> began;
  std::optional<std::chrono::system_clock::time_point> connected;
};

/// A decided connection: everything that is known before its first byte is handled.
struct Connection {
  std::uint64_t id = 0;                                  ///< unique within a run
  base::Endpoint client;                                 ///< the program's own address
  base::Endpoint server;                                 ///< where it wanted to go
  std::shared_ptr<const procmap::ProcessFacts> process;  ///< null: unknown
  Verdict verdict;
  /// When the program's connection was accepted; or, when its first packet was held until there was
  /// one to the server, when that began to be made.
  std::chrono::system_clock::time_point opened;
  ConnectTimes connect{};
};

/// How a connection that was not intercepted ended.
struct Outcome {
  std::uint64_t request_bytes = 0;   ///< from the program
  std::uint64_t response_bytes = 0;  ///< to the program
  std::string error;                 ///< empty: ended in order
  bool counted = true;               ///< false: the kernel passes the bytes uncounted
};

/// How the server of an intercepted connection is reached.
enum class Way : std::uint8_t {
  straight,  ///< at its address
  ahead,     ///< with Interceptor::dial(), which needs to know nothing more
  late,      ///< by the interceptor, when the first bytes have said what the host is called
};

/// Opens a socket, not connected, by which the server may be reached at its address: where other
/// rules of this machine judge by owner it is as the program's own (program_socket.h), and no other
/// will do. Errors: no descriptor for one within twelve seconds.
using OpenStraight = std::function<boost::asio::awaitable<boost::system::error_code>(
    boost::asio::ip::tcp::socket& server)>;

/// Runs a connection that is to be intercepted. Both sockets are non-blocking, connected and have
/// nothing read from them; they belong to the executor on which the coroutine runs. Returns when
/// both are done with; never throws. `server` may be closed when its way is not straight: then the
/// interceptor connects it. When it goes straight after all, `open` opens the socket for that; it
/// may hold a descriptor.
class Interceptor {
 public:
  virtual ~Interceptor() = default;
  virtual boost::asio::awaitable<void> intercept(Connection connection,
                                                 boost::asio::ip::tcp::socket client,
                                                 boost::asio::ip::tcp::socket server,
                                                 OpenStraight open) = 0;
  [[nodiscard]] virtual Way way(const Verdict& verdict) const = 0;
  /// Connects `server` (way: ahead), before the program's connection is accepted. What fails is
  /// reported as a flow; returned is what to tell the program.
  virtual boost::asio::awaitable<boost::system::error_code> dial(
      Connection connection, boost::asio::ip::tcp::socket& server) = 0;
  /// Ends every connection under interception on this context: both sides are reset, flows are
  /// reported.
  virtual void end_all() = 0;
  /// The upstream could not be reached; the client has been, or is about to be, reset.
  virtual void unreachable(const Connection& connection,
                           const boost::system::error_code& error) = 0;
};

/// Told of connections that pass or are blocked. Called on the connection's own context; must not
/// block.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void closed(const Connection& connection, const Outcome& outcome) = 0;
  /// A datagram that opens a QUIC connection was refused: `connection`'s program is intercepted,
  /// and is to fall back to TCP. Comes once for each attempt.
  virtual void quic_refused(const Connection& connection) = 0;
  /// A copy of a datagram (UDP) between a program that is intercepted and a name server. All copies
  /// of one pair of endpoints come on the same context, in the order in which they were seen.
  virtual void on_dns_datagram(const Connection& connection, bool from_server,
                               std::string_view payload,
                               std::chrono::steady_clock::time_point came) = 0;
  /// Comes twice a second.
  virtual void tick() = 0;
};

}  // namespace divert
