// The worker's end of a link: asks the broker about one accepted connection.
#pragma once

#include <cstdint>
#include <unordered_map>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/fd.h"
#include "divert/wire.h"

namespace divert {

/// One per io_context, used on that context only. Many questions may be under way at once.
class BrokerLink {
 public:
  BrokerLink(boost::asio::io_context& context, base::UniqueFd socket);

  /// `peer` and `local`: the two ends of the accepted socket. Empty when the broker has gone or says nothing
  /// for ten seconds.
  boost::asio::awaitable<std::optional<wire::Answer>> ask(base::Endpoint peer, base::Endpoint local);

  /// Reads answers until the broker closes; to be spawned once.
  boost::asio::awaitable<void> read_answers();

 private:
  struct Waiting {
    boost::asio::steady_timer timer;  ///< cancelled when the answer is there
    std::optional<wire::Answer> answer;
  };

  void take(std::string_view message);

  boost::asio::posix::stream_descriptor socket_;
  std::unordered_map<std::uint64_t, Waiting*> waiting_;
  std::uint64_t next_id_ = 1;
  bool closed_ = false;
};

}  // namespace divert
