// What is known of one intercepted connection, and the events that are published of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <boost/intrusive/list.hpp>

#include "divert/worker/connection.h"
#include "mitm/flow/bus.h"
#include "mitm/intercept/context/context.h"

namespace mitm::intercept {

/// An http flow that has not ended. Unlinks itself from its FlowRecorder.
class OpenFlow : public boost::intrusive::list_base_hook<
                     boost::intrusive::link_mode<boost::intrusive::link_mode_type::auto_unlink>> {
 public:
  /// Publishes that it is under way, if it is slow and has not been shown; that it is pending, if
  /// it has not ended after a moment.
  virtual void show_if_slow(std::chrono::steady_clock::time_point now) = 0;

 protected:
  ~OpenFlow() = default;
};

class FlowRecorder {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;
  using TcpKind = flow::TcpFlow::Kind;

  FlowRecorder(const Context& context, divert::Connection connection);

  [[nodiscard]] const Context& context() const { return context_; }
  [[nodiscard]] const divert::Connection& connection() const { return connection_; }
  /// Whose connection it is, for what is learned.
  [[nodiscard]] Who who() const;
  /// `verdict` with the host known.
  void settle(divert::Verdict verdict, std::string host);
  void set_sni(std::string sni) { edit().sni = std::move(sni); }
  /// What was agreed on with the program, with the server: of all flows from here on.
  void set_tls(flow::TlsFacts tls);
  void set_upstream_tls(std::shared_ptr<const flow::TlsFacts> tls);
  /// The server, or the proxy in front of it, is about to be connected to; has been reached.
  void set_connecting() { edit().times.connect_began = age(); }
  void set_connected() { edit().times.connected = age(); }
  /// As it is known now.
  [[nodiscard]] const flow::ConnectionRecord& record() const { return *record_; }
  [[nodiscard]] const std::string& host() const { return record_->host; }
  /// Where the program means to be connected to: behind the explicit proxy whose tunnel it is in.
  [[nodiscard]] std::uint16_t port() const { return port_; }
  void set_port(std::uint16_t port) { port_ = port; }
  /// Bytes that the program has sent before all that is counted (PROXY protocol headers).
  [[nodiscard]] std::uint64_t bytes_before() const { return bytes_before_; }
  void set_bytes_before(std::uint64_t bytes) { bytes_before_ = bytes; }
  [[nodiscard]] bool has_tls() const { return record_->tls != nullptr; }
  /// The name that is shown and verified: `host`, else the destination's address.
  [[nodiscard]] std::string server_name() const;

  void publish_opened() const;
  void publish_closed() const;

  /// New flows that begin now, with everything that is known of the connection; or the one that
  /// waits, under the kind that is asked for.
  [[nodiscard]] std::shared_ptr<flow::HttpFlow> begin_http();
  [[nodiscard]] std::shared_ptr<flow::TcpFlow> begin_tcp(TcpKind kind);
  [[nodiscard]] std::shared_ptr<flow::DnsFlow> begin_dns() const;
  /// The next begin_...() goes on with this flow, which began at `began`.
  void go_on_later(std::shared_ptr<flow::TcpFlow> flow, SteadyTime began);
  /// Whether a flow waits: plain words have been passed on before what comes now.
  [[nodiscard]] bool has_waiting() const { return waiting_ != nullptr; }

  /// Shows `flow` from here on when it is slow.
  void add(OpenFlow& flow) { open_.push_back(flow); }
  void show_slow_flows(SteadyTime now);

  /// Publishes a copy of `flow` as it is.
  void publish_begin(const flow::TcpFlow& flow) const;
  /// Publishes what one direction of `flow` has said, with 2 KiB of URL and host at most.
  void publish_message(const flow::HttpFlow& flow, flow::StreamMessage::Kind kind,
                       flow::Direction direction, http::Message message) const;
  /// Publishes what one side of a raw connection has said.
  void publish_tcp_message(const flow::TcpFlow& flow, flow::Direction direction,
                           std::string_view bytes) const;
  /// With the time since `began`, and that before go_on_later.
  void publish_end(std::shared_ptr<flow::HttpFlow> flow, SteadyTime began) const;
  void publish_end(std::shared_ptr<flow::TcpFlow> flow, SteadyTime began) const;
  void publish_end(std::shared_ptr<flow::DnsFlow> flow) const;
  /// From here on the connection is ended by us: that is the error of the flows that were still
  /// open.
  void ends_because(std::string why) { end_reason_ = std::move(why); }

  /// Decrypted bytes for the subscribers that want them; `end`: the direction is over.
  void data(flow::Direction direction, std::string_view bytes);
  void data_end(flow::Direction direction);
  /// Suppresses data while the connection is only relayed.
  void keep_quiet(bool quiet) { quiet_ = quiet; }

 private:
  [[nodiscard]] flow::ConnectionRecord& edit();
  [[nodiscard]] std::shared_ptr<const flow::ConnectionRecord> shared_record() const;
  [[nodiscard]] std::chrono::microseconds age() const { return age_at(flow::Time::clock::now()); }
  /// Since the connection was opened; none if a clock was set back meanwhile.
  [[nodiscard]] std::chrono::microseconds age_at(flow::Time time) const;
  void begin(flow::FlowFacts& flow) const;
  void take_over(const flow::TcpFlow& waiting, flow::FlowFacts& flow) const;
  void end_data_of_waiting();
  void finish(flow::FlowFacts& flow, SteadyTime began) const;
  void publish_data(flow::Direction direction, std::string_view bytes);

  const Context& context_;
  divert::Connection connection_;
  std::shared_ptr<flow::ConnectionRecord> record_;
  mutable bool record_is_shared_ = false;  ///< events refer to it: it must not change any more
  std::uint16_t port_;
  std::uint64_t bytes_before_ = 0;
  std::string end_reason_;
  std::shared_ptr<flow::TcpFlow> waiting_;
  boost::intrusive::list<OpenFlow, boost::intrusive::constant_time_size<false>> open_;
  std::uint64_t offsets_[2] = {0, 0};
  bool ended_[2] = {false, false};
  bool quiet_ = false;
  bool trusted_ = false;  ///< the program has asked for something in TLS with us
};

/// Unique within a run, over all threads.
std::uint64_t next_flow_id();

}  // namespace mitm::intercept
