// A flow that is being asked.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "mitm/flow/flow.h"

namespace mitm::query {

/// What is expensive to know of a flow is found out when it is asked for, and only once. Neither it
/// nor what it returns outlives the flow.
class Subject {
 public:
  /// Of one body, at most so much is looked at once it is decoded.
  static constexpr std::size_t kLargestBody = 64 << 20;

  struct Graphql {
    std::string kind;
    std::string name;
  };

  explicit Subject(const flow::Flow& asked);
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  ~Subject();

  const flow::Flow& flow;
  const flow::FlowFacts& facts;
  const flow::HttpFlow* const http;
  const flow::TcpFlow* const tcp;
  const flow::DnsFlow* const dns;
  const flow::ConnectionRecord* const connection;  ///< null: unknown
  const procmap::ProcessFacts* const process;      ///< null: unknown

  /// The body without its codings; as it is where they cannot be undone. Empty: none is recorded.
  [[nodiscard]] std::string_view body(flow::Direction direction);
  /// The same in UTF-8 if it is a text of another charset; else empty.
  [[nodiscard]] std::string_view converted_body(flow::Direction direction);
  /// Null: it is not JSON.
  [[nodiscard]] const nlohmann::json* document(flow::Direction direction);
  [[nodiscard]] const std::vector<Graphql>& graphql();

 private:
  struct Decoded;
  Decoded& decoded(flow::Direction direction);

  std::unique_ptr<Decoded> decoded_[2];
  std::unique_ptr<std::vector<Graphql>> graphql_;
};

}  // namespace mitm::query
