// The one place where an intercepted connection's facts become events.
#include "mitm/intercept/context/flow_recorder.h"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

#include "mitm/dns/names.h"

namespace mitm::intercept {
namespace {

/// Of URL and host in the event of a message, in bytes. Two bytes may be a message, and a URL a
/// quarter of a megabyte; the flow's other events have it whole.
constexpr std::size_t kMessageUrl = 2 << 10;

/// What a server answers that wanted another client certificate than it got: nginx 400 (495 and 496
/// in its log), Apache 403, others 401. Empty: nothing of the kind.
std::string hint_on_client_certificate(const flow::HttpFlow& flow) {
  constexpr int kRefusals[] = {400, 401, 403, 495, 496};
  const auto& upstream = flow.connection->upstream_tls;
  const bool refused = std::ranges::find(kRefusals, flow.response.status) != std::end(kRefusals);
  if (!refused || !upstream || upstream->client_certificate.empty()) return {};
  const std::string& shown = upstream->client_certificate;
  if (shown != "none")
    return fmt::format(
        "the server asked for a client certificate and was shown {}, which it may not accept",
        shown);
  return "the server asked for a client certificate and was shown none (osproxy does not have the "
         "program's own): name one with --client-cert, or let the host pass with a rule";
}

/// Whether a connection that says nothing of its host may be called after a name that was looked
/// up. Name servers have addresses that are looked up as well, but a program that asks one does not
/// mean that host.
bool has_learned_name(FlowRecorder::TcpKind kind, const base::Endpoint& server) {
  return kind != FlowRecorder::TcpKind::tls_error && !dns::is_name_server(server.port());
}

std::chrono::microseconds since(FlowRecorder::SteadyTime began) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               began);
}

}  // namespace

std::uint64_t next_flow_id() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

FlowRecorder::FlowRecorder(const Context& context, divert::Connection connection)
    : context_(context),
      connection_(std::move(connection)),
      record_(std::make_shared<flow::ConnectionRecord>()),
      port_(connection_.server.port()) {
  record_->id = connection_.id;
  record_->opened = connection_.opened;
  record_->process = connection_.process;
  record_->client = connection_.client;
  record_->server = connection_.server;
  record_->decision = divert::to_string(connection_.verdict.action);
  record_->reason = connection_.verdict.reason;
  const divert::ConnectTimes& connect = connection_.connect;
  if (connect.began) record_->times.connect_began = age_at(*connect.began);
  if (connect.connected) record_->times.connected = age_at(*connect.connected);
}

/// The record, to be changed: events that have been published keep theirs.
flow::ConnectionRecord& FlowRecorder::edit() {
  if (std::exchange(record_is_shared_, false))
    record_ = std::make_shared<flow::ConnectionRecord>(*record_);
  return *record_;
}

std::shared_ptr<const flow::ConnectionRecord> FlowRecorder::shared_record() const {
  record_is_shared_ = true;
  return record_;
}

std::chrono::microseconds FlowRecorder::age_at(flow::Time time) const {
  const auto age = time - connection_.opened;
  return std::max(std::chrono::duration_cast<std::chrono::microseconds>(age),
                  std::chrono::microseconds{0});
}

Who FlowRecorder::who() const {
  return connection_.process ? Who{connection_.process->uid, connection_.process->exe} : Who{};
}

void FlowRecorder::settle(divert::Verdict verdict, std::string host) {
  connection_.verdict = std::move(verdict);
  flow::ConnectionRecord& record = edit();
  record.host = std::move(host);
  record.decision = divert::to_string(connection_.verdict.action);
  record.reason = connection_.verdict.reason;
}

void FlowRecorder::set_tls(flow::TlsFacts tls) {
  flow::ConnectionRecord& record = edit();
  record.tls = std::make_shared<const flow::TlsFacts>(std::move(tls));
  record.times.tls_done = age();
}

void FlowRecorder::set_upstream_tls(std::shared_ptr<const flow::TlsFacts> tls) {
  flow::ConnectionRecord& record = edit();
  record.upstream_tls = std::move(tls);
  record.times.upstream_tls_done = age();
}

std::string FlowRecorder::server_name() const {
  return host().empty() ? connection_.server.address().to_string() : host();
}

void FlowRecorder::publish_opened() const {
  if (context_.bus.wants<flow::ConnectionOpened>())
    context_.bus.publish(flow::ConnectionOpened{shared_record()});
}

void FlowRecorder::publish_closed() const {
  if (context_.bus.wants<flow::ConnectionEnd>())
    context_.bus.publish(flow::ConnectionEnd{shared_record()});
}

void FlowRecorder::begin(flow::FlowFacts& flow) const {
  flow.id = next_flow_id();
  flow.began = std::chrono::system_clock::now();
  flow.connection = shared_record();
}

/// The flow goes on under another kind.
void FlowRecorder::take_over(const flow::TcpFlow& waiting, flow::FlowFacts& flow) const {
  flow.id = waiting.id;
  flow.began = waiting.began;
  flow.duration = waiting.duration;
  flow.error = waiting.error;
  flow.connection = shared_record();
}

/// Nothing more is seen of what has been recorded so far, or nothing comes.
void FlowRecorder::end_data_of_waiting() {
  if (offsets_[0] + offsets_[1] == 0) return;
  data_end(flow::Direction::request);
  data_end(flow::Direction::response);
}

std::shared_ptr<flow::HttpFlow> FlowRecorder::begin_http() {
  auto flow = std::make_shared<flow::HttpFlow>();
  if (const auto waiting = std::exchange(waiting_, nullptr)) {
    end_data_of_waiting();
    take_over(*waiting, *flow);
  } else {
    begin(*flow);
  }
  flow->host = host();
  // Said at once, not at the end: connections beside this one are judged by it.
  if (has_tls() && !std::exchange(trusted_, true))
    context_.settings.learned->accepted(who(), server_name(), flow->began);
  return flow;
}

std::shared_ptr<flow::TcpFlow> FlowRecorder::begin_tcp(TcpKind kind) {
  auto flow = std::exchange(waiting_, nullptr);
  if (flow) {
    if (kind != TcpKind::tcp) end_data_of_waiting();
    flow->connection = shared_record();
  } else {
    flow = std::make_shared<flow::TcpFlow>();
    begin(*flow);
  }
  flow->kind = kind;
  flow->host = host();
  if (flow->host.empty() && has_learned_name(kind, connection_.server))
    flow->host = context_.settings.names->find(connection_.server.address());
  return flow;
}

std::shared_ptr<flow::DnsFlow> FlowRecorder::begin_dns() const {
  auto flow = std::make_shared<flow::DnsFlow>();
  begin(*flow);
  return flow;
}

void FlowRecorder::go_on_later(std::shared_ptr<flow::TcpFlow> flow, SteadyTime began) {
  flow->duration = since(began);
  waiting_ = std::move(flow);
}

void FlowRecorder::show_slow_flows(SteadyTime now) {
  for (OpenFlow& flow : open_) flow.show_if_slow(now);
}

void FlowRecorder::publish_begin(const flow::TcpFlow& flow) const {
  if (context_.bus.wants<flow::TcpBegin>())
    context_.bus.publish(flow::TcpBegin{std::make_shared<const flow::TcpFlow>(flow)});
}

void FlowRecorder::publish_message(const flow::HttpFlow& flow, flow::StreamMessage::Kind kind,
                                   flow::Direction direction, http::Message message) const {
  if (!context_.bus.wants<flow::Message>()) return;
  auto told = std::make_shared<flow::StreamMessage>();
  told->kind = kind;
  told->flow = flow.id;
  told->connection = flow.connection;
  told->time = std::chrono::system_clock::now();
  told->host.assign(flow.host, 0, kMessageUrl);
  told->url.assign(flow.url, 0, kMessageUrl);
  told->direction = direction;
  told->what = std::move(message);
  context_.bus.publish(flow::Message{std::move(told)});
}

void FlowRecorder::publish_tcp_message(const flow::TcpFlow& flow, flow::Direction direction,
                                       std::string_view bytes) const {
  auto told = std::make_shared<flow::StreamMessage>();
  told->kind = flow::StreamMessage::Kind::tcp;
  told->flow = flow.id;
  told->connection = flow.connection;
  told->time = std::chrono::system_clock::now();
  told->direction = direction;
  told->what.kind = http::Message::Kind::binary;
  told->what.payload = bytes;
  told->what.bytes = bytes.size();
  told->what.wire_bytes = bytes.size();
  context_.bus.publish(flow::TcpMessage{std::move(told)});
}

void FlowRecorder::finish(flow::FlowFacts& flow, SteadyTime began) const {
  if (!end_reason_.empty()) flow.error = end_reason_;
  flow.duration = flow.duration.value_or(std::chrono::microseconds{0}) + since(began);
}

void FlowRecorder::publish_end(std::shared_ptr<flow::HttpFlow> flow, SteadyTime began) const {
  finish(*flow, began);
  if (flow->error.empty()) flow->error = hint_on_client_certificate(*flow);
  context_.bus.publish(flow::HttpEnd{std::move(flow)});
}

void FlowRecorder::publish_end(std::shared_ptr<flow::TcpFlow> flow, SteadyTime began) const {
  finish(*flow, began);
  context_.bus.publish(flow::TcpEnd{std::move(flow)});
}

void FlowRecorder::publish_end(std::shared_ptr<flow::DnsFlow> flow) const {
  context_.bus.publish(flow::DnsEnd{std::move(flow)});
}

void FlowRecorder::data(flow::Direction direction, std::string_view bytes) {
  // What comes behind an end is not delivered.
  const bool ended = ended_[static_cast<int>(direction)];
  if (!bytes.empty() && !quiet_ && !ended && context_.bus.wants<flow::TcpData>())
    publish_data(direction, bytes);
}

void FlowRecorder::data_end(flow::Direction direction) {
  if (quiet_) return;
  bool& ended = ended_[static_cast<int>(direction)];
  if (std::exchange(ended, true) || !context_.bus.wants<flow::TcpData>()) return;
  publish_data(direction, {});
}

void FlowRecorder::publish_data(flow::Direction direction, std::string_view bytes) {
  auto data = std::make_shared<flow::Data>();
  data->conn = connection_.id;
  data->client = connection_.client;
  data->server = connection_.server;
  data->direction = direction;
  data->process = connection_.process;
  data->time = std::chrono::system_clock::now();
  data->bytes = bytes;
  data->offset = std::exchange(offsets_[static_cast<int>(direction)],
                               offsets_[static_cast<int>(direction)] + bytes.size());
  context_.bus.publish(flow::TcpData{std::move(data)});
}

}  // namespace mitm::intercept
