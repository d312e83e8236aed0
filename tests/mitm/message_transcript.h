// What a reader of messages tells, as one line: whole, byte by byte, and cut at every offset it
// must be the same.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "mitm/http/message.h"
#include "tests/test.h"

namespace story {

using mitm::http::Message;
using mitm::http::MessageReader;
using Make = std::function<std::unique_ptr<MessageReader>()>;

struct Teller final : MessageReader::Handler {
  std::string text;

  void message(Message& message) override {
    text +=
        fmt::format("[{}{}{}{}", to_string(message.kind), message.compressed ? " compressed" : "",
                    message.name.empty() ? "" : " name=" + message.name,
                    message.id.empty() ? "" : " id=" + message.id);
    if (message.kind == Message::Kind::close)
      text += fmt::format(" {} {}", message.code, message.reason);
    text += fmt::format(
        " {}/{} {}{}]", message.bytes ? std::to_string(*message.bytes) : "?", message.wire_bytes,
        message.payload.size() > 60 ? std::string("...") : message.payload, message.cut ? "~" : "");
  }
};

inline std::string told(const Make& make, const std::vector<std::string_view>& pieces) {
  const auto reader = make();
  Teller teller;
  for (const auto piece : pieces) reader->feed(piece, teller);
  return teller.text + (reader->error() != nullptr ? fmt::format(" ! {}", reader->error()) : "");
}

inline void tells(const Make& make, const std::string& bytes, const std::string& expected) {
  CAPTURE(expected);
  CHECK(told(make, {bytes}) == expected);
  const std::string_view view = bytes;
  std::vector<std::string_view> single;
  for (std::size_t i = 0; i < bytes.size(); ++i) single.push_back(view.substr(i, 1));
  CHECK(told(make, single) == expected);
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut)
    REQUIRE(told(make, {view.substr(0, cut), view.substr(cut)}) == expected);
}

}  // namespace story
