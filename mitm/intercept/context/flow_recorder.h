// What is known of one intercepted connection, and the flows and data that are reported of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "divert/worker/connection.h"
#include "mitm/flow/bus.h"
#include "mitm/intercept/context/context.h"

namespace mitm::intercept {

class FlowRecorder {
 public:
  FlowRecorder(const Context& shared, divert::Connection connection);

  [[nodiscard]] const Context& context() const { return context_; }
  /// What may be read at once; see readable().
  [[nodiscard]] std::span<char> scratch() const {
    return context_.scratch.first(readable(context_.memory, context_.scratch.size()));
  }
  [[nodiscard]] const divert::Connection& connection() const { return connection_; }
  /// Whose connection it is, for what is learned.
  [[nodiscard]] Who who() const;
  /// `verdict` with the host known.
  void settle(divert::Verdict verdict, std::string host);
  void set_sni(std::string sni) { sni_ = std::move(sni); }
  /// What was agreed on with the program, with the server: of all flows from here on.
  void set_tls(flow::TlsFacts tls) {
    tls_ = std::make_shared<const flow::TlsFacts>(std::move(tls));
  }
  void set_upstream_tls(flow::TlsFacts tls) {
    upstream_tls_ = std::make_shared<const flow::TlsFacts>(std::move(tls));
  }
  [[nodiscard]] const std::string& host() const { return host_; }
  /// Where the program means to be connected to: behind the explicit proxy whose tunnel it is in.
  [[nodiscard]] std::uint16_t port() const { return port_; }
  void set_port(std::uint16_t port) { port_ = port; }
  /// Bytes that the program has sent before all that is counted (PROXY protocol headers).
  [[nodiscard]] std::uint64_t bytes_before() const { return bytes_before_; }
  void set_bytes_before(std::uint64_t bytes) { bytes_before_ = bytes; }
  [[nodiscard]] bool has_tls() const { return tls_ != nullptr; }
  /// The name that is shown and verified: `host`, else the destination's address.
  [[nodiscard]] std::string server_name() const;

  /// A new flow that began now, with everything that is known of the connection; or the one that
  /// waits.
  [[nodiscard]] std::unique_ptr<flow::Flow> begin(flow::Type type);
  /// The next begin() goes on with this flow, which began at `began`, under the type that it asks
  /// for.
  void go_on_later(std::unique_ptr<flow::Flow> flow, std::chrono::steady_clock::time_point began);
  /// Whether a flow waits: plain words have been passed on before what comes now.
  [[nodiscard]] bool has_waiting() const { return waiting_ != nullptr; }
  /// Publishes a copy of `flow` as started, once more facts will follow with its end.
  void publish_start(const flow::Flow& flow) const;
  /// From here on the connection is ended by us: that is the error of the flows that were still
  /// open.
  void ends_because(std::string why) { end_reason_ = std::move(why); }
  /// Publishes what one direction of `flow` has said, with 2 KiB of URL and host at most; `type` as
  /// of Flow::message.
  void publish_message(const flow::Flow& flow, flow::Type type, flow::Direction direction,
                       http::Message message) const;
  /// With the time since `began`, and that before go_on_later.
  void publish_end(std::unique_ptr<flow::Flow> flow,
                   std::chrono::steady_clock::time_point began) const;

  /// Decrypted bytes for the sinks that want them; `end`: the direction is over.
  void data(flow::Direction direction, std::string_view bytes);
  void data_end(flow::Direction direction);
  /// Of a connection that passes, nobody gets data.
  void keep_quiet(bool quiet) { quiet_ = quiet; }

 private:
  void describe(flow::Flow& flow) const;
  void publish_data(flow::Direction direction, std::string_view bytes);

  const Context& context_;
  divert::Connection connection_;
  std::string host_;
  std::uint16_t port_;
  std::uint64_t bytes_before_ = 0;
  std::string sni_;
  std::string end_reason_;
  std::shared_ptr<const flow::TlsFacts> tls_;
  std::shared_ptr<const flow::TlsFacts> upstream_tls_;
  std::unique_ptr<flow::Flow> waiting_;
  std::uint64_t offsets_[2] = {0, 0};
  bool ended_[2] = {false, false};
  bool quiet_ = false;
  bool trusted_ = false;  ///< the program has asked for something in TLS with us
};

/// Unique within a run, over all threads.
std::uint64_t next_flow_id();

}  // namespace mitm::intercept
