#include "mitm/format/flow_builder.h"

namespace mitm::format {
namespace {

std::shared_ptr<flow::StreamMessage> make(const flow::FlowFacts& facts, flow::Direction direction,
                                          flow::Time time) {
  auto message = std::make_shared<flow::StreamMessage>();
  message->flow = facts.id;
  message->connection = facts.connection;
  message->time = time;
  message->direction = direction;
  return message;
}

}  // namespace

base::Endpoint endpoint_of(std::string_view address, std::uint16_t port) {
  boost::system::error_code error;
  const base::Address parsed = boost::asio::ip::make_address(std::string(address), error);
  return {error ? base::Address() : parsed, port};
}

flow::Body body_of(std::string_view bytes, bool cut) {
  flow::BodyRecorder recorder;
  recorder.append(bytes, bytes.size());
  if (cut) recorder.cut();
  return recorder.body();
}

std::uint64_t number_for(std::string_view name) {
  constexpr std::uint64_t kBasis = 0xcbf29ce484222325U, kPrime = 0x100000001b3U;  // FNV-1a
  std::uint64_t hash = kBasis;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
  return (hash ^ hash >> 32U) & ((std::uint64_t{1} << 53U) - 1);
}

std::shared_ptr<flow::StreamMessage> make_message(const flow::HttpFlow& flow,
                                                  flow::StreamMessage::Kind kind,
                                                  flow::Direction direction, flow::Time time) {
  auto message = make(flow, direction, time);
  message->kind = kind;
  message->host = flow.host;
  message->url = flow.url;
  return message;
}

std::shared_ptr<flow::StreamMessage> make_message(const flow::TcpFlow& flow,
                                                  flow::Direction direction, flow::Time time) {
  auto message = make(flow, direction, time);
  message->kind = flow::StreamMessage::Kind::tcp;
  message->host = flow.host;
  message->what.kind = http::Message::Kind::binary;
  return message;
}

}  // namespace mitm::format
