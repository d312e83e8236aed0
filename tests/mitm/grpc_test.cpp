#include "mitm/http/grpc.h"

#include "tests/mitm/http2_frames.h"
#include "tests/mitm/message_transcript.h"

using mitm::http::GrpcReader;
using mitm::http::is_grpc;
using story::tells;

namespace {

story::Make reader(std::size_t limit = 100) {
  return [=] { return std::make_unique<GrpcReader>(limit); };
}

std::string call(std::uint32_t flags, std::string_view payload) {
  return frames::number(flags, 1) + frames::number(static_cast<std::uint32_t>(payload.size()), 4) +
         std::string(payload);
}

}  // namespace

TEST_CASE("grpc: messages, empty ones, compressed ones, and gRPC-Web's trailers") {
  tells(reader(), call(0, "one") + call(0, "") + call(1, "zip") + call(0x80, "grpc-status: 0\r\n"),
        "[call 3/8 one][call 0/5 ][call compressed 3/8 zip][trailers 16/21 grpc-status: 0\r\n]");
}

TEST_CASE("grpc: a message that has not come whole is not told; beyond the limit it is counted") {
  tells(reader(3), call(0, "12345") + call(0, "123") + call(0, "end").substr(0, 7),
        "[call 5/10 123~][call 3/8 123]");
}

TEST_CASE("grpc: what is no message ends the reading") {
  tells(reader(), call(0, "a") + "GET / HTTP" + call(0, "b"),
        "[call 1/6 a] ! a gRPC message begins with reserved flags");
}

TEST_CASE("grpc: why a call failed, by its trailers or by a response that is nothing but a head") {
  const auto fields = [](std::string_view status, std::string_view message = {}) {
    mitm::http::Fields made;
    made.add("content-type", "application/grpc");
    if (!status.empty()) made.add("Grpc-Status", status);
    if (!message.empty()) made.add("grpc-message", message);
    return made;
  };
  const struct {
    std::string_view status, message, failure;
  } cases[] = {
      {"", "", ""},
      {"0", "fine", ""},
      {"5", "", "NOT_FOUND"},
      {"5", "no such thing: 100%25 sure%2c %zz%4", "NOT_FOUND: no such thing: 100% sure, %zz%4"},
      {"16", "", "UNAUTHENTICATED"},
      {"17", "new", "grpc-status 17: new"},
      {"00x", "", "grpc-status 00x"}};
  for (const auto& [status, message, failure] : cases) {
    CAPTURE(status);
    CHECK(mitm::http::grpc_failure(fields(""), fields(status, message)) == failure);
    CHECK(mitm::http::grpc_failure(fields(status, message), {}) == failure);
  }
  CHECK(mitm::http::grpc_failure(fields("0"), fields("14")) == "UNAVAILABLE");
}

TEST_CASE("grpc: which bodies are made of messages") {
  for (const char* yes : {"application/grpc", "application/grpc+proto", "Application/gRPC; x",
                          "application/grpc-web", "application/grpc-web+proto"})
    CHECK(is_grpc(yes));
  for (const char* no : {"", "application/json", "application/grp", "application/grpc-web-text",
                         "application/grpc-web-text+proto"})
    CHECK_FALSE(is_grpc(no));
}
