// Flows for the tests of filters.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mitm/flow/flow.h"
#include "mitm/query/filter.h"
#include "tests/test.h"

namespace mitm::query::test {

/// A flow that is put together member by member: what it shares with others is its own here.
struct FlowMaker {
  std::shared_ptr<procmap::ProcessFacts> process = std::make_shared<procmap::ProcessFacts>();
  std::shared_ptr<flow::ConnectionRecord> connection = std::make_shared<flow::ConnectionRecord>();
  std::shared_ptr<flow::TlsFacts> tls = std::make_shared<flow::TlsFacts>();
  std::shared_ptr<flow::TlsFacts> upstream = std::make_shared<flow::TlsFacts>();
  flow::CertificateFacts certificate;
  flow::Flow made;

  /// The whole flow, whose record is `record`.
  template <class Record>
  flow::Flow flow_of(Record record) {
    upstream->certificates = std::make_shared<flow::CertificateChain>(1, certificate);
    connection->process = process;
    connection->tls = tls;
    connection->upstream_tls = upstream;
    record.connection = connection;
    made.record = std::make_shared<const Record>(std::move(record));
    return made;
  }
  void add_message(flow::StreamMessage::Kind kind, flow::Direction direction, std::string payload,
                   http::Message::Kind what = http::Message::Kind::text, std::string name = {});
};

/// A flow of each type in which all facts are known, and one of which hardly any is.
[[nodiscard]] FlowMaker full_maker();
[[nodiscard]] flow::HttpFlow full_http();
[[nodiscard]] flow::Flow http_flow();       ///< POST by curl, 503, JSON, GraphQL, gRPC status
[[nodiscard]] flow::Flow websocket_flow();  ///< 101 with messages of all kinds
[[nodiscard]] flow::Flow tcp_flow();        ///< SMTP, with what was said
[[nodiscard]] flow::Flow dns_flow();
[[nodiscard]] flow::Flow bare_flow();  ///< http without anything, not even a connection

/// 2026-11-30T09:15:00Z.
[[nodiscard]] flow::Time sample_time();

}  // namespace mitm::query::test

template <>
struct doctest::StringMaker<mitm::query::Filter::Parsed> {
  static doctest::String convert(const mitm::query::Filter::Parsed& parsed) {
    return parsed ? "a filter" : ("error: " + parsed.error().message()).c_str();
  }
};
