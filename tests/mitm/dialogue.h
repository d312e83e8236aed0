// A session between two streams in memory, with the test as the program and the server: "the
// program says, the server hears". With a whole engine: connection_dialogue.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/session/session.h"
#include "mitm/intercept/wire/peek_buffer.h"
#include "tests/mitm/flow_log.h"
#include "tests/mitm/memory_stream.h"
#include "tests/test.h"

namespace test {

class Dialogue {
 public:
  using Session = mitm::intercept::Session;
  using Make = std::function<std::unique_ptr<Session>(mitm::intercept::FlowRecorder&,
                                                      mitm::intercept::PeekBuffer& program,
                                                      mitm::intercept::PeekBuffer& server)>;

  explicit Dialogue(const Make& make, mitm::intercept::Settings given = {})
      : settings_(std::move(given)) {
    session_ = make(recorder_, from_program, from_server);
    boost::asio::co_spawn(context_, session_->run(),
                          [this](std::exception_ptr thrown, mitm::intercept::Next what) {
                            CHECK(thrown == nullptr);
                            next = std::move(what);
                          });
    settle();
  }
  Dialogue(const Dialogue&) = delete;
  Dialogue& operator=(const Dialogue&) = delete;

  /// Until nothing more happens by itself.
  void settle() {
    context_.restart();
    context_.poll();
  }
  /// What `one` says reaches `other` as it is.
  void passes(MemoryStream& one, MemoryStream& other, std::string_view bytes) {
    one.say(bytes);
    settle();
    CHECK(other.heard() == bytes);
  }
  [[nodiscard]] bool is_over() const { return next.has_value(); }
  /// The flows that have ended.
  [[nodiscard]] std::vector<FlatFlow> ended() { return log_.ended(0); }

 private:
  static divert::Connection connection() {
    divert::Connection made;
    made.client = *base::parse_endpoint("192.0.2.1:50000");
    made.server = *base::parse_endpoint("192.0.2.2:80");
    made.verdict.action = divert::Action::intercept;
    return made;
  }

  FlowLog log_;
  boost::asio::io_context context_;
  mitm::intercept::Settings settings_;
  std::vector<char> scratch_ = std::vector<char>(256 << 10);
  mitm::intercept::MemoryAccount memory_{settings_.memory};
  mitm::intercept::Context shared_{settings_, log_.bus(), scratch_, memory_,
                                   mitm::intercept::Gate::none()};
  mitm::intercept::FlowRecorder recorder_{shared_, connection()};

 public:
  MemoryStream program{context_.get_executor()}, server{context_.get_executor()};
  mitm::intercept::PeekBuffer from_program{program}, from_server{server};
  std::optional<mitm::intercept::Next> next;  ///< once the session is over

 private:
  std::unique_ptr<Session> session_;
};

}  // namespace test
