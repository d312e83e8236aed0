// The worker's end of a link: asks the broker about accepted connections, and hears what it wants
// done.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <unordered_map>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "divert/link/message_socket.h"
#include "divert/link/wire.h"

namespace divert {

/// One per io_context, used on that context only. Many questions may be under way at once.
class BrokerLink {
 public:
  BrokerLink(boost::asio::io_context& context, MessageSocket socket);

  /// `peer` and `local`: the two ends of the accepted socket. Empty when the broker has gone or
  /// says nothing for ten seconds.
  boost::asio::awaitable<std::optional<wire::Answer>> ask(base::Endpoint peer,
                                                          base::Endpoint local);

  /// The end of an attempt to connect ahead. It is delivered however busy the broker is: a packet
  /// is held for it.
  void tell(const wire::Connected& message);

  /// Tells the broker that this context comes round, unless it takes nothing now.
  void beat();

  /// Reads and delivers messages until the broker closes; to be spawned once. `on_order`:
  /// what is not an answer to a question.
  using OnOrder = std::function<void(wire::Message)>;
  boost::asio::awaitable<void> run(OnOrder on_order);
  /// Takes what the broker has sent up to now. False: it has closed.
  bool take_all();

 private:
  struct Waiting {
    boost::asio::steady_timer timer;  ///< cancelled when the answer is there
    std::optional<wire::Answer> answer;
  };

  boost::asio::awaitable<void> read();
  boost::asio::awaitable<void> deliver();
  boost::asio::awaitable<bool> put(std::string message);
  void take(std::string_view message, base::UniqueFd with);

  MessageSocket socket_;
  std::vector<char> buffer_;
  wire::KnownProcesses known_;
  OnOrder on_order_;
  boost::asio::posix::stream_descriptor ready_;  ///< the same socket, for waiting
  std::unordered_map<std::uint64_t, Waiting*> waiting_;
  std::deque<wire::Connected> untold_;
  boost::asio::steady_timer told_;  ///< cancelled when there is something in it
  std::uint64_t next_id_ = 1;
  bool closed_ = false;
};

}  // namespace divert
