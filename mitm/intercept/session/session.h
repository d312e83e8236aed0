// A protocol between the two streams of a connection.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "mitm/flow/records.h"

namespace mitm::intercept {

/// What follows on a connection when a session is over.
struct Next {
  enum class Kind : std::uint8_t {
    end,        ///< nothing: both streams are finished with
    raw,        ///< another protocol (101)
    http2,      ///< h2c: `flow` is the request that is stream 1
    websocket,  ///< `flow` is the request with its answer
    tunnel,     ///< the server has accepted a CONNECT to `target`
    tls,    ///< program and server have agreed to go on in TLS, of which nothing has been passed on
    plain,  ///< it will not change to TLS
  };
  Kind kind = Kind::end;
  std::shared_ptr<flow::HttpFlow> flow{};         ///< that goes on in the next session
  std::chrono::steady_clock::time_point began{};  ///< when it did
  std::string target{};                           ///< as the program wrote it
};

class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() = default;

  /// Once. Bytes that belong to what follows are pushed back into the streams.
  virtual boost::asio::awaitable<Next> run() = 0;
};

}  // namespace mitm::intercept
