// The connection to the server, where it is made after the program's first bytes have been looked
// at.
#pragma once

#include <string>

#include <boost/asio/awaitable.hpp>

#include "divert/worker/connection.h"
#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/wire/dialer.h"
#include "mitm/intercept/wire/side.h"

namespace mitm::intercept {

/// Of one connection.
class UpstreamConnector {
 public:
  /// `open`: see divert::Interceptor.
  UpstreamConnector(Dialer& dialer, FlowRecorder& recorder, Side& client, Side& server,
                    divert::OpenStraight open)
      : dialer_(dialer),
        recorder_(recorder),
        client_(client),
        server_(server),
        open_(std::move(open)) {}

  enum class Outcome : std::uint8_t { connected, failed, interrupted };
  struct Result {
    Outcome outcome = Outcome::connected;
    std::string why;  ///< failed: for the person whose program it is
  };
  /// Connects the server's side as the connection's verdict says.
  boost::asio::awaitable<Result> connect();

  /// The run ends. True: a connection was being made; connect() then returns `interrupted`.
  [[nodiscard]] bool interrupt() { return std::exchange(connecting_, false); }
  /// No more connections are made: what was held for them is given back.
  void finish() { open_ = {}; }

 private:
  Dialer& dialer_;
  FlowRecorder& recorder_;
  Side& client_;
  Side& server_;
  divert::OpenStraight open_;  ///< may hold a descriptor
  bool connecting_ = false;
};

}  // namespace mitm::intercept
