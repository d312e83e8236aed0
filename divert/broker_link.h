// The worker's end of a link: asks the broker about accepted connections, and hears what it wants done.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "divert/message_socket.h"
#include "divert/wire.h"

namespace divert {

/// One per io_context, used on that context only. Many questions may be under way at once.
class BrokerLink {
 public:
  BrokerLink(boost::asio::io_context& context, MessageSocket socket);

  /// `peer` and `local`: the two ends of the accepted socket. Empty when the broker has gone or says nothing
  /// for ten seconds.
  boost::asio::awaitable<std::optional<wire::Answer>> ask(base::Endpoint peer, base::Endpoint local);

  /// The end of an attempt to connect ahead. A lost message is made good at the accept.
  void tell(const wire::Connected& message);

  /// Reads until the broker closes; to be spawned once. `on_order`: what is not an answer to a question.
  using OnOrder = std::function<void(wire::Answer)>;
  boost::asio::awaitable<void> read(OnOrder on_order);

 private:
  struct Waiting {
    boost::asio::steady_timer timer;  ///< cancelled when the answer is there
    std::optional<wire::Answer> answer;
  };

  boost::asio::awaitable<bool> put(const wire::Question& question);
  void take(std::string_view message, const OnOrder& on_order);

  MessageSocket socket_;
  boost::asio::posix::stream_descriptor ready_;  ///< the same socket, for waiting
  std::unordered_map<std::uint64_t, Waiting*> waiting_;
  std::uint64_t next_id_ = 1;
  bool closed_ = false;
};

}  // namespace divert
