#include "mitm/store/recorder.h"

#include <algorithm>

#include <fmt/format.h>
#include <sys/statvfs.h>

#include "mitm/store/schema.h"

namespace mitm::store {
namespace {

/// A transaction is committed after so many events, however young it is.
constexpr std::uint64_t kCommitEvents = 2000;
constexpr auto kTidyEvery = std::chrono::seconds{1};
/// After a write that failed, the next try.
constexpr auto kTryAgain = std::chrono::seconds{5};

std::optional<std::uint64_t> free_bytes(int directory) {
  struct statvfs facts {};
  if (directory < 0 || ::fstatvfs(directory, &facts) != 0) return std::nullopt;
  return std::uint64_t{facts.f_bavail} * facts.f_frsize;
}

}  // namespace

Recorder::Recorder(std::unique_ptr<SessionWriter> writer, std::string name, base::UniqueFd disk,
                   Limits limits, Reserve reserve, Say say)
    : writer_(std::move(writer)),
      name_(std::move(name)),
      retention_(limits),
      say_(std::move(say)),
      disk_(std::move(disk)),
      reserve_(reserve),
      tidied_(Clock::now()) {
  look_at_disk();
}

/// Flows that have not ended are interrupted.
Recorder::~Recorder() {
  auto ended = writer_->is_in_transaction() ? commit() : base::Result<>{};
  if (ended) ended = interrupt_live_flows(writer_->database());
  if (!ended) say_(fmt::format("{}: {}; its end is missing", name_, ended.error().text));
  // A run that is shorter than kTidyEvery has not kept to its limits before.
  if (const auto kept = ended ? tidy() : base::Result<>{}; !kept)
    say_(fmt::format("{}: {}; it keeps more than it should", name_, kept.error().text));
  if (lost_ > 0) say_(fmt::format("{}: {} events could not be stored", name_, lost_));
}

flow::EventSet Recorder::wants() const {
  return flow::EventSet::of<flow::HttpPending, flow::HttpUnderWay, flow::HttpEnd, flow::Message,
                            flow::TcpMessage, flow::BodyPart, flow::TcpBegin, flow::TcpEnd,
                            flow::DnsEnd, flow::ConnectionEnd>();
}

base::Result<> Recorder::write(const flow::Event& event) {
  if (level_ == Level::nothing) {
    ++lost_;
    return {};
  }
  if (!writer_->is_in_transaction()) {
    if (auto begun = writer_->begin(); !begun) {
      ++lost_;
      failed(begun.error());
      return {};
    }
    begun_ = Clock::now();
  }
  ++batch_;
  if (auto stored = store(event); !stored) failed(stored.error());
  return {};
}

base::Result<> Recorder::flush() {
  const auto now = Clock::now();
  const bool due =
      writer_->is_in_transaction() && (now - begun_ >= kCommitAfter || batch_ >= kCommitEvents);
  if (due) {
    if (auto done = commit(); !done) failed(done.error());
  }
  if (now - tidied_ < kTidyEvery || writer_->is_in_transaction()) return {};
  tidied_ = now;
  look_at_disk();
  if (auto done = tidy(); !done) failed(done.error());
  return {};
}

std::optional<std::chrono::milliseconds> Recorder::flush_again() const {
  if (writer_->is_in_transaction()) return kCommitAfter;
  if (level_ != Level::everything) return kTidyEvery;
  return std::nullopt;
}

base::Result<> Recorder::commit() {
  batch_ = 0;
  return writer_->commit();
}

base::Result<> Recorder::tidy() {
  for (;;) {
    const auto more = retention_.apply(writer_->database(), std::chrono::system_clock::now(),
                                       writer_->first_open_connection());
    if (!more) return more.error();
    if (retention_.take_swept()) writer_->forget_shared_rows();
    if (!*more) return {};
    writer_->bodies().deleted();
  }
}

// When there is no room.

/// What the open transaction held is gone. Flows of it that go on get new rows.
void Recorder::failed(const base::Error& error) {
  lost_ += std::exchange(batch_, 0);
  writer_->roll_back();
  failed_ = Clock::now();
  for (auto& [flow, live] : live_) {
    if (!writer_->has_flow(live.id)) live.id = 0;
    for (PartialBody& body : live.bodies) body.abandon();
  }
  set_level(level_ == Level::everything ? Level::no_bodies : Level::nothing, error.text);
}

void Recorder::look_at_disk() {
  const auto free = free_bytes(disk_.get());
  if (failed_ && Clock::now() - *failed_ < kTryAgain) return;
  // Twice as much to begin again, so that it does not change with every flow.
  const auto enough = [&](std::uint64_t reserve, Level now) {
    return !free || *free >= (level_ >= now ? 2 * reserve : reserve);
  };
  Level level = Level::everything;
  if (!enough(reserve_.for_flows, Level::no_bodies)) level = Level::no_bodies;
  if (!enough(reserve_.for_all, Level::nothing)) level = Level::nothing;
  // After a failure one step at a time.
  if (failed_ && level_ == Level::nothing) level = std::max(level, Level::no_bodies);
  if (level == Level::everything) failed_.reset();
  set_level(level, free ? fmt::format("{} MiB are free on its disk", *free >> 20U) : "");
}

void Recorder::set_level(Level level, std::string_view why) {
  if (std::exchange(level_, level) == level) return;
  constexpr std::string_view kWords[] = {"everything is stored again",
                                         "bodies are no longer stored",
                                         "nothing is stored until there is room again"};
  say_(fmt::format("{}: {}: {}; the traffic goes on", name_, why,
                   kWords[static_cast<std::size_t>(level)]));
}

// Events.

base::Result<> Recorder::store(const flow::Event& event) {
  using State = flow::Flow::State;
  if (const auto* const it = std::get_if<flow::HttpEnd>(&event))
    return put(*it->flow, State::ended);
  if (const auto* const it = std::get_if<flow::HttpPending>(&event))
    return put(*it->flow, State::live);
  if (const auto* const it = std::get_if<flow::HttpUnderWay>(&event))
    return put(*it->flow, State::live);
  if (const auto* const it = std::get_if<flow::Message>(&event)) return put(*it->message);
  if (const auto* const it = std::get_if<flow::TcpMessage>(&event)) return put(*it->message);
  if (const auto* const it = std::get_if<flow::BodyPart>(&event)) return put(*it);
  if (const auto* const it = std::get_if<flow::TcpBegin>(&event))
    return put(*it->flow, State::live);
  if (const auto* const it = std::get_if<flow::TcpEnd>(&event)) return put(*it->flow, State::ended);
  if (const auto* const it = std::get_if<flow::DnsEnd>(&event)) return put(*it->flow);
  if (const auto* const it = std::get_if<flow::ConnectionEnd>(&event))
    writer_->forget_connection(it->connection->id);
  return {};
}

base::Result<std::int64_t> Recorder::finish_body(const flow::Body& body,
                                                 std::optional<std::uint64_t> bytes,
                                                 PartialBody partial) {
  if (bytes && partial.size() < *bytes) partial.cut();
  if (partial.size() > 0) return writer_->bodies().finish(std::move(partial));
  if (level_ == Level::everything) return writer_->bodies().put(body);
  return writer_->bodies().put(body.without_bytes());
}

base::Result<> Recorder::put(const flow::HttpFlow& flow, flow::Flow::State state) {
  SessionWriter::Row row{.state = state};
  if (state == flow::Flow::State::live) {
    Live& known = live_[flow.id];
    if (known.id == 0) known.id = writer_->next_flow();
    row.id = known.id;
    row.messages = known.messages;
    row.request_body = known.bodies[0].id();
    row.response_body = known.bodies[1].id();
    return writer_->put(flow, row);
  }
  Live ended;
  if (const auto known = live_.find(flow.id); known != live_.end()) {
    ended = std::move(known->second);
    live_.erase(known);
  }
  const auto request =
      finish_body(flow.request.body, flow.request.body_bytes, std::move(ended.bodies[0]));
  if (!request) return request.error();
  const auto response =
      finish_body(flow.response.body, flow.response.body_bytes, std::move(ended.bodies[1]));
  if (!response) return response.error();
  row.id = ended.id == 0 ? writer_->next_flow() : ended.id;
  row.messages = ended.messages;
  row.request_body = *request;
  row.response_body = *response;
  return writer_->put(flow, row);
}

base::Result<> Recorder::put(const flow::TcpFlow& flow, flow::Flow::State state) {
  Live& known = live_[flow.id];
  if (known.id == 0) known.id = writer_->next_flow();
  const SessionWriter::Row row{.id = known.id, .state = state, .messages = known.messages};
  if (state == flow::Flow::State::ended) live_.erase(flow.id);
  return writer_->put(flow, row);
}

base::Result<> Recorder::put(const flow::DnsFlow& flow) {
  return writer_->put(flow, {.id = writer_->next_flow()});
}

/// Messages need a row. What began this flow was not stored: what the message knows of it lasts
/// until its end.
base::Result<> Recorder::put_beginning(const flow::StreamMessage& message) {
  const auto begin = [&](auto flow) {
    flow.id = message.flow;
    flow.connection = message.connection;
    flow.began = message.time;
    flow.host = message.host.empty() ? message.connection->host : message.host;
    return flow;
  };
  if (message.kind == flow::StreamMessage::Kind::tcp)
    return put(begin(flow::TcpFlow{}), flow::Flow::State::live);
  flow::HttpFlow http = begin(flow::HttpFlow{});
  http.url = message.url;
  return put(http, flow::Flow::State::live);
}

base::Result<> Recorder::put(const flow::StreamMessage& message) {
  Live& flow = live_[message.flow];
  if (flow.id == 0) {
    if (auto done = put_beginning(message); !done) return done.error();
  }
  const std::uint64_t n = flow.messages++;
  if (level_ == Level::everything) return writer_->put(message, flow.id, n);
  flow::StreamMessage bare = message;
  http::drop_payload(bare.what);
  return writer_->put(bare, flow.id, n);
}

base::Result<> Recorder::put(const flow::BodyPart& part) {
  // Without a row so far: the row will name the body.
  Live& flow = live_[part.flow];
  PartialBody& body = flow.bodies[static_cast<std::size_t>(part.direction)];
  std::string scratch;
  const std::string_view bytes = part.bytes.bytes(scratch);
  // A piece in between was dropped, or is not stored: what comes behind it has no place.
  if (part.offset != body.size() || bytes.empty() || level_ != Level::everything) body.cut();
  const bool is_new = body.id() == 0;
  if (auto done = writer_->bodies().append(body, bytes); !done) return done.error();
  if (!is_new || body.id() == 0 || flow.id == 0) return {};
  return writer_->set_body(flow.id, part.direction, body.id());
}

}  // namespace mitm::store
