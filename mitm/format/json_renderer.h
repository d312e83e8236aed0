// The JSON form of a flow, with what neighbouring flows share kept from one to the next.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "mitm/flow/event.h"

namespace mitm::format {

/// RFC 3339 as base::rfc3339; the calendar is computed once per second of flow time.
class TimeText {
 public:
  void append(std::string& out, std::chrono::system_clock::time_point time);

 private:
  std::chrono::sys_seconds second_ = std::chrono::sys_seconds::min();
  std::string text_;  ///< up to and with the point
};

class JsonObject;

class JsonRenderer {
 public:
  /// As render_json().
  void render(const flow::Event& event, bool bodies, std::string& out);

 private:
  struct Head;
  struct Tail;
  void render(const flow::HttpFlow& flow, bool ended, bool bodies, std::string& out);
  void render(const flow::TcpFlow& flow, bool ended, std::string& out);
  void render(const flow::DnsFlow& flow, std::string& out);
  void render(const flow::StreamMessage& message, bool bodies, std::string& out);
  void add_head(JsonObject& object, const Head& head);
  void add_tail(JsonObject& object, const Tail& tail);
  const std::string& process(const std::shared_ptr<const procmap::ProcessFacts>& facts);

  const std::string& certificates(const std::shared_ptr<const flow::CertificateChain>& chain);

  TimeText time_;
  std::shared_ptr<const procmap::ProcessFacts> last_process_;
  std::string last_process_json_;
  std::shared_ptr<const flow::CertificateChain> last_chain_;
  std::string last_chain_json_;
};

}  // namespace mitm::format
