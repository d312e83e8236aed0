// Recorded flows as packets: what each side said is put together again from its parts. HTTP/2 has
// one stream a flow, in the order of the flows, and no compression.
#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/lru_cache.h"
#include "mitm/format/packet_log.h"
#include "mitm/format/pcapng_file.h"
#include "mitm/format/wire_bytes.h"

namespace mitm::format {
namespace {

using flow::Direction;
using flow::Time;

/// Connections of which it is remembered what was said: as many as PacketLog remembers.
constexpr std::size_t kMaxConnections = 65536;

/// One connection of the file, as far as its flows have come.
struct Connection {
  flow::Data facts;  ///< without bytes; `conn` is unique in the file
  std::uint64_t said[2] = {0, 0};
  std::uint32_t next_stream = 0;  ///< 0: no preface of HTTP/2 has been said
  /// One side said its last, or a tunnel begins: what else comes is a new conversation.
  bool ended = false;
};

/// One side of an exchange in HTTP/1.
struct Message {
  Direction direction;
  Time began;
  Time ended;
  std::string head;
  const http::Fields& fields;
  const http::Fields& trailers;
  const flow::Body& body;
  std::uint64_t length;  ///< of the body
};

/// What Content-Length says, or else what was counted.
std::uint64_t length_of(const http::Fields& fields, std::optional<std::uint64_t> counted) {
  const std::string_view text = fields.find("content-length");
  std::uint64_t length = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  const bool said = error == std::errc{} && stop == text.data() + text.size();
  return said ? length : counted.value_or(0);
}

/// Bytes of a body that were not recorded.
std::uint64_t missing_of(const flow::Body& body, std::uint64_t length) {
  return body.is_cut() && length > body.size() ? length - body.size() : 0;
}

/// Files of others have flows of HTTP/3, for which there is no TCP.
bool is_multiplexed(std::string_view version) {
  return version.starts_with('2') || version.starts_with('3');
}

bool has_no_body(int status) {
  return status < 200 || status == 204 || status == 304;
}

std::string why_unrecorded(const flow::TcpFlow& flow) {
  using enum flow::TcpFlow::Kind;
  const std::string& reason = flow.error.empty() ? flow.connection->reason : flow.error;
  switch (flow.kind) {
    case pass:
      return "passed, not decrypted: " + flow.connection->reason;
    case block:
      return "blocked: " + flow.connection->reason;
    case tls_error:
      return "TLS failed: " + reason;
    case tcp:
      break;
  }
  return "nothing of what it carried was recorded";
}

class PcapngWriter final : public FlowWriter {
 public:
  void begin(std::string& out) override { log_.begin(out); }
  [[nodiscard]] base::Result<> write(const flow::Flow& flow, std::string& out) override;

 private:
  Connection& connection_of(const flow::FlowFacts& facts);
  void say(Connection& at, Direction direction, Time time, std::string bytes, std::uint64_t missing,
           std::string& out);
  void say_end(Connection& at, Direction direction, Time time, std::string& out);
  void write_message(Connection& at, const Message& message, std::string& out);
  void write_http1(const flow::Flow& flow, const flow::HttpFlow& http, std::string& out);
  void write_http1_response(Connection& at, const flow::HttpFlow& http, std::string& out);
  void write_websocket(Connection& at, const flow::Flow& flow, std::string& out);
  void write_http2(const flow::HttpFlow& http, std::string& out);
  void write_tcp(const flow::Flow& flow, const flow::TcpFlow& tcp, std::string& out);
  void write_dns(const flow::DnsFlow& dns, std::string& out);

  PacketLog log_;
  base::LruCache<std::string, Connection> connections_{kMaxConnections};
  std::uint64_t last_ = 0;
};

Time at(const flow::HttpFlow& http, flow::Offset offset) {
  return http.began + offset.value_or(std::chrono::microseconds{0});
}

/// In their order.
std::vector<const flow::StreamMessage*> messages_of(const flow::Flow& flow,
                                                    flow::StreamMessage::Kind kind) {
  std::vector<const flow::StreamMessage*> messages;
  for (const auto& message : flow.messages) {
    if (message->kind == kind) messages.push_back(message.get());
  }
  return messages;
}

/// Conversations of which no end is known by its port are told apart by one of ours.
base::Endpoint client_of(const flow::ConnectionRecord& record, std::uint64_t number) {
  constexpr std::uint64_t kFirst = 1024, kPorts = 65536 - kFirst;
  if (record.client.port() != 0) return record.client;
  return {record.client.address(), static_cast<std::uint16_t>(kFirst + number % kPorts)};
}

Connection& PcapngWriter::connection_of(const flow::FlowFacts& facts) {
  const flow::ConnectionRecord& record = *facts.connection;
  const std::string key = fmt::format("{} {} {}", record.id, base::to_string(record.client),
                                      base::to_string(record.server));
  Connection* const known = connections_.find(key);
  if (known != nullptr && !known->ended) return *known;
  Connection fresh;
  fresh.facts.conn = ++last_;
  fresh.facts.client = client_of(record, last_);
  fresh.facts.server = record.server;
  fresh.facts.process = record.process;
  fresh.facts.time = facts.began;
  return connections_.put(key, std::move(fresh));
}

/// `missing` bytes follow that were not recorded: one segment has room for some of them and shows
/// that it was cut, the others are a gap.
void PcapngWriter::say(Connection& at, Direction direction, Time time, std::string bytes,
                       std::uint64_t missing, std::string& out) {
  if (bytes.empty() && missing == 0) return;
  const std::size_t used = bytes.size() % Conversation::kMaxPayload;
  const bool full = used == 0 && !bytes.empty();
  const std::size_t room = full ? 0 : Conversation::kMaxPayload - used;
  const auto filling = static_cast<std::size_t>(std::min<std::uint64_t>(missing, room));
  bytes.append(filling, '\0');
  auto data = std::make_shared<flow::Data>(at.facts);
  data->direction = direction;
  data->time = at.facts.time = std::max(time, at.facts.time);
  std::uint64_t& said = at.said[static_cast<int>(direction)];
  data->offset = said;
  said += bytes.size() + missing - filling;
  data->bytes = std::move(bytes);
  log_.add(data, filling, out);
}

void PcapngWriter::say_end(Connection& at, Direction direction, Time time, std::string& out) {
  at.ended = true;
  auto data = std::make_shared<flow::Data>(at.facts);
  data->direction = direction;
  data->time = at.facts.time = std::max(time, at.facts.time);
  data->offset = at.said[static_cast<int>(direction)];
  log_.add(data, out);
}

/// A body of which something is missing stands in one segment with its head, as far as that has
/// room, and one missing byte is told there already: Wireshark would wait for the whole body
/// otherwise, and show nothing of it.
void PcapngWriter::write_message(Connection& at, const Message& message, std::string& out) {
  const std::uint64_t missing = missing_of(message.body, message.length);
  const bool chunked = wire::is_chunked(message.fields);
  const std::uint64_t size = message.body.size() + missing;
  std::string bytes = message.head;
  if (chunked && size > 0) bytes += fmt::format("{:x}\r\n", size);
  if (missing == 0) say(at, message.direction, message.began, std::exchange(bytes, {}), 0, out);
  bytes += message.body.text();
  constexpr std::size_t kRoom = Conversation::kMaxPayload - 1;
  const std::uint64_t early = missing > 0 && bytes.size() > kRoom ? 1 : 0;
  if (early > 0) {
    say(at, message.direction, message.began, bytes.substr(0, kRoom), early, out);
    bytes.erase(0, kRoom);
  }
  say(at, message.direction, message.ended, std::move(bytes), missing - early, out);
  if (chunked)
    say(at, message.direction, message.ended,
        (size > 0 ? "\r\n" : "") + wire::last_chunk(message.trailers), 0, out);
}

void PcapngWriter::write_http1(const flow::Flow& flow, const flow::HttpFlow& http,
                               std::string& out) {
  Connection& connection = connection_of(http);
  const flow::Request& request = http.request;
  write_message(connection,
                {.direction = Direction::request,
                 .began = http.began,
                 .ended = at(http, request.ended),
                 .head = wire::request_head(request),
                 .fields = request.fields,
                 .trailers = request.trailers,
                 .body = request.body,
                 .length = length_of(request.fields, request.body_bytes)},
                out);
  for (const auto& interim : http.response.interim) {
    say(connection, Direction::response, at(http, interim.at),
        wire::response_head(interim.status, {}, "1.1", interim.fields), 0, out);
  }
  if (http.response.status != 0) write_http1_response(connection, http, out);
  if (http.response.status == 101) write_websocket(connection, flow, out);
}

void PcapngWriter::write_http1_response(Connection& connection, const flow::HttpFlow& http,
                                        std::string& out) {
  const flow::Response& response = http.response;
  const auto began = at(http, response.began), ended = at(http, response.ended);
  std::string head =
      wire::response_head(response.status, response.reason, http.request.version, response.fields);
  const bool tunnel = http.request.method == "CONNECT" && response.status / 100 == 2;
  if (tunnel || http.request.method == "HEAD" || has_no_body(response.status)) {
    say(connection, Direction::response, began, std::move(head), 0, out);
    connection.ended = tunnel;
    return;
  }
  write_message(connection,
                {.direction = Direction::response,
                 .began = began,
                 .ended = ended,
                 .head = std::move(head),
                 .fields = response.fields,
                 .trailers = response.trailers,
                 .body = response.body,
                 .length = length_of(response.fields, response.body_bytes)},
                out);
  // Readers wait for the end of a body that nothing but the end of the connection ends.
  if (!wire::is_chunked(response.fields) && response.fields.find("content-length").empty())
    say_end(connection, Direction::response, ended, out);
}

void PcapngWriter::write_websocket(Connection& at, const flow::Flow& flow, std::string& out) {
  for (const auto* const message : messages_of(flow, flow::StreamMessage::Kind::websocket)) {
    auto frame = wire::websocket_frame(message->what, message->direction == Direction::request);
    say(at, message->direction, message->time, std::move(frame.bytes), frame.missing, out);
  }
}

void PcapngWriter::write_http2(const flow::HttpFlow& http, std::string& out) {
  Connection& connection = connection_of(http);
  std::string opening;
  if (connection.next_stream == 0) {
    connection.next_stream = 1;
    opening = wire::client_preface();
  }
  const std::uint32_t stream = std::exchange(connection.next_stream, connection.next_stream + 2);
  const flow::Request& request = http.request;
  const flow::Response& response = http.response;
  const bool only_head = request.body.empty() && request.trailers.empty();
  say(connection, Direction::request, http.began,
      opening + wire::request_headers(request, stream, only_head), 0, out);
  if (!opening.empty())
    say(connection, Direction::response, http.began, wire::server_preface(), 0, out);
  const auto body_time = at(http, request.ended);
  if (!request.body.empty())
    say(connection, Direction::request, body_time,
        wire::data(request.body.text(), stream, request.trailers.empty()), 0, out);
  if (!request.trailers.empty())
    say(connection, Direction::request, body_time, wire::trailers(request.trailers, stream), 0,
        out);
  for (const auto& interim : response.interim) {
    say(connection, Direction::response, at(http, interim.at),
        wire::response_headers(interim.status, interim.fields, stream, false), 0, out);
  }
  if (response.status == 0) return;
  const bool ended = response.ended.has_value();
  say(connection, Direction::response, at(http, response.began),
      wire::response_headers(response.status, response.fields, stream,
                             ended && response.body.empty() && response.trailers.empty()),
      0, out);
  if (!response.body.empty())
    say(connection, Direction::response, at(http, response.ended),
        wire::data(response.body.text(), stream, ended && response.trailers.empty()), 0, out);
  if (!response.trailers.empty())
    say(connection, Direction::response, at(http, response.ended),
        wire::trailers(response.trailers, stream), 0, out);
}

void PcapngWriter::write_tcp(const flow::Flow& flow, const flow::TcpFlow& tcp, std::string& out) {
  Connection& connection = connection_of(tcp);
  const auto said = messages_of(flow, flow::StreamMessage::Kind::tcp);
  if (said.empty()) {
    log_.add_unrecorded(connection.facts, why_unrecorded(tcp), out);
    return;
  }
  for (const auto* const message : said) {
    const std::string& payload = message->what.payload;
    const std::uint64_t size = message->what.bytes.value_or(payload.size());
    say(connection, message->direction, message->time, payload,
        size > payload.size() ? size - payload.size() : 0, out);
  }
  if (flow.state != flow::Flow::State::ended) return;
  const Time time = tcp.began + tcp.duration.value_or(std::chrono::microseconds{0});
  say_end(connection, Direction::request, time, out);
  say_end(connection, Direction::response, time, out);
}

void PcapngWriter::write_dns(const flow::DnsFlow& dns, std::string& out) {
  flow::Data message = connection_of(dns).facts;
  message.time = dns.began;
  message.bytes = wire::dns_question(dns);
  log_.add_dns_message(message, out);
  log_.add_names(dns, out);
  if (dns.rcode.empty()) return;
  message.direction = Direction::response;
  message.time += dns.duration.value_or(std::chrono::microseconds{0});
  message.bytes = wire::dns_answer(dns);
  log_.add_dns_message(message, out);
}

base::Result<> PcapngWriter::write(const flow::Flow& flow, std::string& out) {
  const flow::ConnectionRecord& connection = *flow.facts().connection;
  if (!connection.server.address().is_unspecified() && flow.dns() == nullptr)
    log_.add_names({base::unmapped(connection.server.address())}, connection.host, out);
  if (const auto* const http = flow.http()) {
    if (is_multiplexed(http->request.version)) {
      write_http2(*http, out);
    } else {
      write_http1(flow, *http, out);
    }
  }
  if (const auto* const tcp = flow.tcp()) write_tcp(flow, *tcp, out);
  if (const auto* const dns = flow.dns()) write_dns(*dns, out);
  return {};
}

}  // namespace

std::unique_ptr<FlowWriter> make_pcapng_writer() {
  return std::make_unique<PcapngWriter>();
}

}  // namespace mitm::format
