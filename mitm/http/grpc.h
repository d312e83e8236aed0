// The messages of a gRPC call, one direction of it: a prefix of five bytes before each.
#pragma once

#include <array>

#include "mitm/http/fields.h"
#include "mitm/http/message.h"

namespace mitm::http {

/// Of the content type: whether a body is made of such messages. Not of gRPC-Web's base64 form.
[[nodiscard]] bool is_grpc(std::string_view content_type);

/// Why a call failed, by the `grpc-status` behind its response, or, where that is nothing but a
/// head, in it: "NOT_FOUND: no such thing"; a number without a name: "grpc-status 99". Empty: it
/// did not, or was no call.
[[nodiscard]] std::string grpc_failure(const Fields& headers, const Fields& trailers);

class GrpcReader final : public MessageReader {
 public:
  explicit GrpcReader(std::size_t limit) : MessageReader(limit) {}

  /// After an error, bytes are ignored. Payloads stay compressed.
  void feed(std::string_view bytes, Handler& handler) override;
  void keep_nothing() override {
    limit_ = next_limit_ = 0;
    drop_payload(message_);
  }
  [[nodiscard]] std::size_t held() const override { return message_.payload.capacity(); }

 private:
  [[nodiscard]] bool begin();

  std::array<char, 5> prefix_{};
  std::size_t prefix_size_ = 0;  ///< of it, seen
  std::uint64_t left_ = 0;
  Message message_;
};

}  // namespace mitm::http
