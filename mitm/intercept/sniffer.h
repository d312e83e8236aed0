// Who speaks first on a connection, and what its first bytes say.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>

#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/wire/side.h"
#include "mitm/sniff/sniffer.h"

namespace mitm::intercept {

/// Reads along, or looks without consuming (MSG_PEEK). Of one connection.
class Sniffer {
 public:
  Sniffer(FlowRecorder& recorder, Side& client, Side& server)
      : recorder_(recorder), client_(client), server_(server) {}

  /// What the first bytes of both sides say; raw when the server is first. `leave`: see
  /// Side::look.
  boost::asio::awaitable<sniff::SniffResult> sniff(bool leave);
  /// Likewise, behind the PROXY protocol headers that come before everything else, which a server
  /// that is connected gets at once; the other bytes stay in the kernel.
  boost::asio::awaitable<sniff::SniffResult> sniff_behind_headers();

  /// PROXY protocol headers that the program has sent.
  [[nodiscard]] const std::string& headers() const { return headers_; }
  /// ": TCP4 192.0.2.1 192.0.2.2 5000 443", of headers in version 1, which is text; else empty.
  [[nodiscard]] std::string described_headers() const;
  /// For a server that is connected only now.
  boost::asio::awaitable<void> pass_headers_on();
  /// Gives subscribers those that they have not been given.
  void show_headers();

 private:
  enum class ServerSays : std::uint8_t {
    nothing,
    something,       ///< its own protocol, or its end
    http2_settings,  ///< gRPC's servers need not be spoken to first: the program is waited for
  };

  [[nodiscard]] ServerSays look_at_server(bool leave);
  boost::asio::awaitable<void> wait_for_either(std::chrono::steady_clock::time_point limit);
  boost::asio::awaitable<bool> take_header(std::size_t size);

  FlowRecorder& recorder_;
  Side& client_;
  Side& server_;
  std::string headers_;
  std::size_t headers_shown_ = 0;  ///< bytes of them
};

}  // namespace mitm::intercept
