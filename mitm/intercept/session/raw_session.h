// Bytes of any protocol as one tcp flow, until it changes to TLS; the questions of a connection to
// a name server as flows of their own.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "mitm/dns/stream.h"
#include "mitm/dns/watch.h"
#include "mitm/intercept/session/pass_through.h"
#include "mitm/intercept/session/session.h"
#include "mitm/starttls/recogniser.h"

namespace mitm::intercept {

class RawSession final : public Session, private PassThrough::Observer {
 public:
  enum class Kind : std::uint8_t {
    intercepted,  ///< a tcp flow, to the end
    watched,  ///< passes, and its bytes are nobody's business; only until it is known whether TLS
              ///< follows
  };
  /// `may_start_tls`: it is plain, and may change to TLS.
  RawSession(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server, Kind kind,
             bool may_start_tls);

  /// Unless it has ended, the flow waits in FlowRecorder.
  boost::asio::awaitable<Next> run() override;

 private:
  struct NameServer {
    dns::Watch watch;
    dns::Stream questions;
    dns::Stream answers;
    MemoryShare share;
  };

  bool on_bytes(flow::Direction direction, std::string_view bytes) override;
  std::optional<std::size_t> ends_after(flow::Direction direction, std::string_view bytes) override;
  void failed(std::string why) override;
  void publish(flow::Direction direction, std::string_view bytes, std::uint64_t before);
  void listen(flow::Direction direction, std::string_view bytes);

  FlowRecorder& recorder_;
  Kind kind_;
  PassThrough pass_through_;
  std::shared_ptr<flow::TcpFlow> flow_;
  std::unique_ptr<NameServer> name_server_;
  std::unique_ptr<starttls::Recogniser> recogniser_;  ///< null: no change to TLS is to come
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace mitm::intercept
