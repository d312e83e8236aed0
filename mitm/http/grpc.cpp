// Length-Prefixed-Message of "gRPC over HTTP2"; gRPC-Web adds trailers as a last message of their
// own.
#include "mitm/http/grpc.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace mitm::http {
namespace {

constexpr unsigned kCompressed = 0x01;
constexpr unsigned kTrailers = 0x80;

/// Of the numbers from 0 on ("gRPC status codes").
constexpr std::string_view kCodes[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

std::string percent_decoded(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    unsigned byte = 0;
    const auto digits = text.starts_with('%') ? text.substr(1, 2) : std::string_view();
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16).ptr;
    const bool coded = digits.size() == 2 && end == digits.data() + digits.size();
    out += coded ? static_cast<char>(byte) : text.front();
    text.remove_prefix(coded ? 3 : 1);
  }
  return out;
}

}  // namespace

std::string grpc_failure(const Fields& headers, const Fields& trailers) {
  const bool behind = !trailers.find("grpc-status").empty();
  const Fields& fields = behind ? trailers : headers;
  const std::string_view status = fields.find("grpc-status");
  std::size_t code = 0;
  const auto [end, error] = std::from_chars(status.data(), status.data() + status.size(), code);
  const bool known =
      error == std::errc{} && end == status.data() + status.size() && code < std::size(kCodes);
  if (status.empty() || (known && code == 0)) return {};
  const std::string name = known ? std::string(kCodes[code]) : "grpc-status " + std::string(status);
  const std::string message = percent_decoded(fields.find("grpc-message"));
  return message.empty() ? name : name + ": " + message;
}

bool is_grpc(std::string_view content_type) {
  constexpr std::string_view kStart = "application/grpc", kText = "-web-text";
  if (!iequals(content_type.substr(0, kStart.size()), kStart)) return false;
  return !iequals(content_type.substr(kStart.size(), kText.size()), kText);
}

void GrpcReader::feed(std::string_view bytes, Handler& handler) {
  while (!bytes.empty() && error_ == nullptr) {
    if (prefix_size_ < prefix_.size()) {
      const std::size_t size = std::min(prefix_.size() - prefix_size_, bytes.size());
      std::memcpy(prefix_.data() + prefix_size_, bytes.data(), size);
      prefix_size_ += size;
      bytes.remove_prefix(size);
      if (prefix_size_ < prefix_.size() || !begin()) return;
    }
    const std::string_view part = bytes.substr(0, std::min<std::uint64_t>(left_, bytes.size()));
    keep(part, limit_, message_);
    bytes.remove_prefix(part.size());
    left_ -= part.size();
    if (left_ > 0) return;
    prefix_size_ = 0;
    handler.message(message_);
    message_ = {};
  }
}

bool GrpcReader::begin() {
  const unsigned flags = static_cast<unsigned char>(prefix_[0]);
  if ((flags & ~(kCompressed | kTrailers)) != 0) {
    error_ = "a gRPC message begins with reserved flags";
    return false;
  }
  left_ = 0;
  for (std::size_t i = 1; i < prefix_.size(); ++i)
    left_ = left_ << 8U | static_cast<unsigned char>(prefix_[i]);
  limit_ = next_limit_;
  message_.kind = (flags & kTrailers) != 0 ? Message::Kind::trailers : Message::Kind::call;
  message_.compressed = (flags & kCompressed) != 0;
  message_.bytes = left_;
  message_.wire_bytes = prefix_.size() + left_;
  return true;
}

}  // namespace mitm::http
