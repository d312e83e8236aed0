// Bytes of any protocol as one tcp flow, until it changes to TLS; the questions of a connection to a name
// server as flows of their own.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "mitm/dns/stream.h"
#include "mitm/dns/watch.h"
#include "mitm/intercept/pass_through.h"
#include "mitm/starttls/recogniser.h"

namespace mitm::intercept {

class RawSession final : private PassThrough::Observer {
 public:
  RawSession(Tracked& tracked, Channel& client, Channel& server);

  /// True: program and server have agreed to go on in TLS. Nothing of that has been read, or it is pushed
  /// back; the flow waits in Tracked.
  boost::asio::awaitable<bool> run();

 private:
  struct NameServer {
    dns::Watch watch;
    dns::Stream questions;
    dns::Stream answers;
  };

  bool saw(flow::Direction direction, std::string_view bytes) override;
  std::optional<std::size_t> ends_after(flow::Direction direction, std::string_view bytes) override;
  void failed(std::string why) override;
  void listen(flow::Direction direction, std::string_view bytes);
  void publish(std::unique_ptr<const flow::Flow> flow);

  Tracked& tracked_;
  PassThrough pass_through_;
  std::unique_ptr<flow::Flow> flow_;
  std::unique_ptr<NameServer> name_server_;
  std::unique_ptr<starttls::Recogniser> recogniser_;  ///< null: no change to TLS is to come
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace mitm::intercept
