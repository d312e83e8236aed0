// What passes, counted.
#include "mitm/intercept/session/raw_session.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;

}  // namespace

RawSession::RawSession(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server, Kind kind,
                       bool may_start_tls)
    : recorder_(recorder),
      kind_(kind),
      pass_through_(recorder, client, server, *this),
      flow_(recorder.begin_tcp(kind == Kind::watched ? FlowRecorder::TcpKind::pass
                                                     : FlowRecorder::TcpKind::tcp)) {
  const bool goes_on = flow_->request_bytes.has_value();
  if (!goes_on) {
    flow_->request_bytes = recorder.bytes_before();
    flow_->response_bytes = 0;
    if (kind == Kind::intercepted) recorder.publish_begin(*flow_);
  }
  if (!goes_on && may_start_tls) recogniser_ = std::make_unique<starttls::Recogniser>();
  if (kind == Kind::intercepted && dns::is_name_server(recorder.connection().server.port()))
    name_server_.reset(new NameServer{dns::Watch{recorder.context().settings.names},
                                      {},
                                      {},
                                      MemoryShare{recorder.context().memory}});
}

awaitable<Next> RawSession::run() {
  recorder_.keep_quiet(kind_ == Kind::watched);
  const bool goes_on = co_await pass_through_.run();
  recorder_.keep_quiet(false);
  if (goes_on) {
    const auto kind = flow_->starttls.empty() ? Next::Kind::plain : Next::Kind::tls;
    recorder_.go_on_later(std::move(flow_), began_);
    co_return Next{.kind = kind};
  }
  if (name_server_) {
    for (auto& unanswered : name_server_->watch.expired(std::chrono::steady_clock::now(), {}))
      recorder_.publish_end(std::move(unanswered));
  }
  recorder_.publish_end(std::move(flow_), began_);
  co_return Next{};
}

std::optional<std::size_t> RawSession::ends_after(flow::Direction direction,
                                                  std::string_view bytes) {
  using starttls::From;
  if (!recogniser_) return std::nullopt;
  const auto from = direction == flow::Direction::request ? From::program : From::server;
  const auto finding = recogniser_->feed(from, bytes);
  if (finding.verdict == starttls::Finding::Verdict::undecided) return std::nullopt;
  const bool agreed = finding.verdict == starttls::Finding::Verdict::agreed;
  if (agreed) flow_->starttls = recogniser_->protocol();
  recogniser_.reset();
  if (agreed) return finding.bytes;
  if (kind_ == Kind::watched) return bytes.size();
  return std::nullopt;
}

bool RawSession::on_bytes(flow::Direction direction, std::string_view bytes) {
  const bool request = direction == flow::Direction::request;
  std::uint64_t& passed = *(request ? flow_->request_bytes : flow_->response_bytes);
  publish(direction, bytes, passed);
  passed += bytes.size();
  if (name_server_) listen(direction, bytes);
  return true;
}

/// `before`: bytes that have passed in this direction so far.
void RawSession::publish(flow::Direction direction, std::string_view bytes, std::uint64_t before) {
  const Context& context = recorder_.context();
  const std::uint64_t limit = context.settings.part_limit;
  if (kind_ != Kind::intercepted || before >= limit || !context.bus.wants<flow::TcpMessage>())
    return;
  recorder_.publish_tcp_message(*flow_, direction, bytes.substr(0, limit - before));
}

void RawSession::failed(std::string why) {
  if (flow_->error.empty()) flow_->error = std::move(why);
}

void RawSession::listen(flow::Direction direction, std::string_view bytes) {
  const bool answer = direction == flow::Direction::response;
  auto& stream = answer ? name_server_->answers : name_server_->questions;
  auto& memory = recorder_.context().memory;
  stream.feed(bytes, [&](std::string_view message) {
    if (!answer && memory.is_exhausted()) return memory.count_drop();
    auto flow = name_server_->watch.on_message(recorder_.connection(), answer, message,
                                               std::chrono::steady_clock::now(),
                                               [&] { return recorder_.begin_dns(); });
    if (flow) recorder_.publish_end(std::move(flow));
  });
  name_server_->share.set(name_server_->watch.held());
}

}  // namespace mitm::intercept
