// How a program learns that its server cannot be reached or trusted: by a page of ours, in its own
// protocol.
#pragma once

#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/wire/side.h"
#include "mitm/sniff/client_hello.h"

namespace mitm::intercept {

/// The protocol in which a program with this hello is answered with a page, "h2" or one of
/// HTTP/1's; empty: an alert is all that it gets.
[[nodiscard]] std::string page_protocol(ErrorPage who, const sniff::ClientHello& hello);

/// Answers one request, the first and last one of a connection, with status 502. Publishes its
/// flow.
class ErrorResponder {
 public:
  ErrorResponder(FlowRecorder& recorder, Side& client) : recorder_(recorder), client_(client) {}

  /// `why` is shown on the page and in the flow. False: the program sends no request in time, and
  /// has been told nothing.
  boost::asio::awaitable<bool> answer_http(const std::string& why);
  boost::asio::awaitable<bool> answer_http2(const std::string& why);

 private:
  boost::asio::awaitable<void> answer(std::shared_ptr<flow::HttpFlow> flow, const std::string& why,
                                      const std::string& page);

  FlowRecorder& recorder_;
  Side& client_;
};

}  // namespace mitm::intercept
