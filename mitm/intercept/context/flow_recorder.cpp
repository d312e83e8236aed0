// The one place where an intercepted connection's facts become flow events.
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
std::string hint_on_client_certificate(const flow::Flow& flow) {
  constexpr int kRefusals[] = {400, 401, 403, 495, 496};
  const bool refused = flow.type == flow::Type::http &&
                       std::ranges::find(kRefusals, flow.status) != std::end(kRefusals);
  if (!refused || !flow.upstream_tls || flow.upstream_tls->client_certificate.empty()) return {};
  const std::string& shown = flow.upstream_tls->client_certificate;
  if (shown != "none")
    return fmt::format(
        "the server asked for a client certificate and was shown {}, which it may not accept",
        shown);
  return "the server asked for a client certificate and was shown none (osproxy does not have the "
         "program's own): name one with --client-cert, or let the host pass with a rule";
}

/// Whether a connection that says nothing of its host may be called after a name that was looked
/// up. Name servers have addresses that are looked up as well, but whoever asks one does not mean
/// that host.
bool has_learned_name(flow::Type type, const base::Endpoint& server) {
  using flow::Type;
  const bool says_nothing = type == Type::tcp || type == Type::pass || type == Type::block;
  return says_nothing && !dns::is_name_server(server.port());
}

}  // namespace

std::uint64_t next_flow_id() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

FlowRecorder::FlowRecorder(const Context& shared, divert::Connection connection)
    : context_(shared), connection_(std::move(connection)), port_(connection_.server.port()) {}

Who FlowRecorder::who() const {
  return connection_.process ? Who{connection_.process->uid, connection_.process->exe} : Who{};
}

void FlowRecorder::settle(divert::Verdict verdict, std::string host) {
  connection_.verdict = std::move(verdict);
  host_ = std::move(host);
}

std::string FlowRecorder::server_name() const {
  return host_.empty() ? connection_.server.address().to_string() : host_;
}

std::unique_ptr<flow::Flow> FlowRecorder::begin(flow::Type type) {
  auto flow = std::move(waiting_);
  if (!flow) {
    flow = std::make_unique<flow::Flow>();
    flow->id = next_flow_id();
    flow->time = std::chrono::system_clock::now();
  } else if (type != flow::Type::tcp && offsets_[0] + offsets_[1] > 0) {
    data_end(
        flow::Direction::request);  // nobody will say so: what comes is not seen, or nothing comes
    data_end(flow::Direction::response);
  }
  flow->type = type;
  describe(*flow);
  // Said at once, not at the end: connections beside this one are judged by it.
  if (type == flow::Type::http && has_tls() && !std::exchange(trusted_, true))
    context_.settings.learned->accepted(who(), server_name(), flow->time);
  return flow;
}

void FlowRecorder::describe(flow::Flow& flow) const {
  flow.conn = connection_.id;
  flow.process = connection_.process;
  flow.client = connection_.client;
  flow.server = connection_.server;
  flow.host = host_;
  if (host_.empty() && has_learned_name(flow.type, connection_.server))
    flow.host = context_.settings.names->find(connection_.server.address());
  flow.sni = sni_;
  flow.tls = tls_;
  flow.upstream_tls = upstream_tls_;
  flow.decision = divert::to_string(connection_.verdict.action);
  flow.reason = connection_.verdict.reason;
}

void FlowRecorder::go_on_later(std::unique_ptr<flow::Flow> flow,
                               std::chrono::steady_clock::time_point began) {
  flow->duration = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - began);
  waiting_ = std::move(flow);
}

void FlowRecorder::publish_start(const flow::Flow& flow) const {
  if (!context_.settings.flow_starts) return;
  auto start = std::make_unique<flow::Flow>(flow);
  start->event = flow::Event::start;
  start->request_bytes.reset();
  start->response_bytes.reset();
  context_.bus.publish(std::unique_ptr<const flow::Flow>(std::move(start)));
}

void FlowRecorder::publish_message(const flow::Flow& flow, flow::Type type,
                                   flow::Direction direction, http::Message message) const {
  auto told = std::make_unique<flow::Flow>();
  told->event = flow::Event::message;
  told->type = type;
  told->id = flow.id;
  told->time = std::chrono::system_clock::now();
  describe(*told);
  told->host.assign(flow.host, 0, kMessageUrl);
  told->url.assign(flow.url, 0, kMessageUrl);
  told->message.emplace(
      flow::MessageFacts{direction == flow::Direction::response, std::move(message)});
  context_.bus.publish(std::unique_ptr<const flow::Flow>(std::move(told)));
}

void FlowRecorder::publish_end(std::unique_ptr<flow::Flow> flow,
                               std::chrono::steady_clock::time_point began) const {
  flow->event = flow::Event::end;
  if (!end_reason_.empty()) flow->error = end_reason_;
  if (flow->error.empty()) flow->error = hint_on_client_certificate(*flow);
  const auto before = flow->duration.value_or(std::chrono::microseconds{0});
  const auto since = std::chrono::steady_clock::now() - began;
  flow->duration = before + std::chrono::duration_cast<std::chrono::microseconds>(since);
  context_.bus.publish(std::unique_ptr<const flow::Flow>(std::move(flow)));
}

void FlowRecorder::data(flow::Direction direction, std::string_view bytes) {
  // What comes behind an end is not delivered.
  const bool ended = ended_[static_cast<int>(direction)];
  if (!bytes.empty() && !quiet_ && !ended && context_.bus.wants_data())
    publish_data(direction, bytes);
}

void FlowRecorder::data_end(flow::Direction direction) {
  if (quiet_) return;
  bool& ended = ended_[static_cast<int>(direction)];
  if (std::exchange(ended, true) || !context_.bus.wants_data()) return;
  publish_data(direction, {});
}

void FlowRecorder::publish_data(flow::Direction direction, std::string_view bytes) {
  auto data = std::make_unique<flow::Data>();
  data->conn = connection_.id;
  data->client = connection_.client;
  data->server = connection_.server;
  data->direction = direction;
  data->process = connection_.process;
  data->time = std::chrono::system_clock::now();
  data->bytes = bytes;
  data->offset = std::exchange(offsets_[static_cast<int>(direction)],
                               offsets_[static_cast<int>(direction)] + bytes.size());
  context_.bus.publish(std::unique_ptr<const flow::Data>(std::move(data)));
}

}  // namespace mitm::intercept
