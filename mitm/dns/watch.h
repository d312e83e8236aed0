// Questions and answers of intercepted programs as flows.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string_view>
#include <tuple>
#include <vector>

#include "divert/worker/connection.h"
#include "mitm/dns/names.h"
#include "mitm/flow/records.h"

namespace mitm::dns {

/// Of one context. Its input are copies: nothing depends on what is done with them.
class Watch {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kAnswerTimeout{5};
  static constexpr std::size_t kMax = 4096;  ///< questions under way
  /// Bytes of the answers that have come before their questions.
  static constexpr std::size_t kMaxEarly = 256 << 10;

  explicit Watch(std::shared_ptr<Names> names) : names_(std::move(names)) {}

  /// The flow that has ended with this message (of UDP or TCP); null: none. `begin` makes a flow of
  /// the connection.
  template <class Begin>
  std::shared_ptr<flow::DnsFlow> on_message(const divert::Connection& connection, bool from_server,
                                            std::string_view payload, Time now, Begin begin) {
    const auto message = parse(payload);
    if (!message || message->response != from_server) {
      if (from_server) malformed(connection, payload);
      return nullptr;
    }
    if (from_server) return answered(connection, *message, payload.size(), now);
    return questions_.size() < kMax ? asked(connection, *message, payload.size(), now, begin())
                                    : nullptr;
  }

  /// Questions without an answer within `patience`, or only with what is no answer.
  std::vector<std::shared_ptr<flow::DnsFlow>> expired(Time now,
                                                      Time::duration patience = kAnswerTimeout);

  /// Bytes of memory that it holds, roughly.
  [[nodiscard]] std::size_t held() const;

 private:
  using Key = std::tuple<base::Endpoint, base::Endpoint, std::uint16_t>;  ///< program, server, id
  struct Question {
    std::shared_ptr<flow::DnsFlow> flow;
    Time asked;
    bool malformed = false;  ///< something has come that was no answer; one may still come
  };

  struct Early {
    Message message;
    std::size_t bytes = 0;
    Time came;
  };

  std::shared_ptr<flow::DnsFlow> asked(const divert::Connection& connection, const Message& message,
                                       std::size_t bytes, Time now,
                                       std::shared_ptr<flow::DnsFlow> flow);
  std::shared_ptr<flow::DnsFlow> answered(const divert::Connection& connection,
                                          const Message& message, std::size_t bytes, Time now);
  void malformed(const divert::Connection& connection, std::string_view payload);
  void keep_early(const Key& key, const Message& message, std::size_t bytes, Time now);

  std::shared_ptr<Names> names_;
  std::map<Key, Question> questions_;
  std::map<Key, Early>
      early_;  ///< copies of answers that were faster than those of their questions
  std::size_t early_bytes_ = 0;
};

}  // namespace mitm::dns
