// Flows as the engine makes them, for the tests of the sinks.
#pragma once

#include "base/network.h"
#include "mitm/format/sinks.h"
#include "tests/mitm/flat_flow.h"

namespace mitm::format {

inline std::chrono::system_clock::time_point sample_time() {
  return std::chrono::sys_days{std::chrono::year{2026} / 11 / 23} + std::chrono::seconds{34010} +
         std::chrono::microseconds{123456};
}

inline std::shared_ptr<const procmap::ProcessFacts> sample_process() {
  auto facts = std::make_shared<procmap::ProcessFacts>();
  facts->id = {1234, 5678};
  facts->ppid = 1000;
  facts->name = "curl";
  facts->exe = "/usr/bin/curl";
  facts->argv = {"curl", "-s", "https://example.org/path"};
  facts->user = "alice";
  facts->start_time = sample_time() - std::chrono::seconds{1};
  return facts;
}

inline test::FlatFlow sample_connection(test::FlatFlow::Type type) {
  test::FlatFlow flow;
  flow.type = type;
  flow.id = 7;
  flow.conn = 3;
  flow.time = sample_time();
  flow.duration = std::chrono::microseconds{34001};
  flow.process = sample_process();
  flow.client = base::parse_endpoint("10.0.0.1:41000").value();
  flow.server = base::parse_endpoint("93.184.216.34:443").value();
  flow.decision = "intercept";
  flow.reason = "filter curl";
  return flow;
}

inline test::FlatFlow sample_http() {
  test::FlatFlow flow = sample_connection(test::FlatFlow::Type::http);
  flow.host = flow.sni = "example.org";
  flow.tls = std::make_shared<const flow::TlsFacts>(
      flow::TlsFacts{"TLSv1.3", "TLS_AES_256_GCM_SHA384", "http/1.1"});
  flow.upstream_tls = std::make_shared<const flow::TlsFacts>(
      flow::TlsFacts{"TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", "http/1.1"});
  flow.method = "GET";
  flow.url = "https://example.org/path";
  flow.http_version = "1.1";
  flow.status = 200;
  flow.request_headers.add("Host", "example.org");
  flow.response_headers.add("Content-Type", "text/plain");
  flow.response_body = "hello\n";
  flow.request_bytes = 0;
  flow.response_bytes = 1234;
  return flow;
}

inline test::FlatFlow sample_message(test::FlatFlow::Type type, http::Message::Kind kind,
                                     std::string payload) {
  test::FlatFlow flow = sample_connection(type);
  flow.event = test::FlatFlow::Event::message;
  flow.duration.reset();
  flow.host = flow.sni = "example.org";
  flow.url = "https://example.org/chat";
  test::FlatMessage& facts = flow.message.emplace();
  facts.from_server = true;
  facts.what.kind = kind;
  facts.what.bytes = payload.size();
  facts.what.wire_bytes = payload.size() + 2;
  facts.what.payload = std::move(payload);
  return flow;
}

inline std::string render_text(const test::FlatFlow& flow, const TextStyle& style) {
  return render_text(test::to_event(flow), style);
}

inline void render_json(const test::FlatFlow& flow, bool bodies, std::string& out) {
  render_json(test::to_event(flow), bodies, out);
}

}  // namespace mitm::format
