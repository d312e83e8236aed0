// PostgreSQL: the program's first messages may ask for encryption, each is answered with one byte.
// (TLS from the first byte, as version 17 can have it, needs no help.)
#include <algorithm>
#include <string>

#include "mitm/starttls/framing.h"
#include "mitm/starttls/machine.h"

namespace mitm::starttls {
namespace {

using namespace std::string_view_literals;

constexpr auto kSslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"sv;
constexpr auto kGssEncRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"sv;

class Postgresql final : public Machine {
 public:
  Finding feed(From from, std::string_view bytes) override {
    return from == From::program ? program(bytes) : server(bytes);
  }
  [[nodiscard]] std::string_view protocol() const override { return "postgresql"; }

 private:
  enum class Due : std::uint8_t { nothing, ssl, gss };

  Finding program(std::string_view bytes) {
    if (due_ == Due::nothing) {
      const auto used = std::min(kSslRequest.size() - request_.size(), bytes.size());
      request_.append(bytes.substr(0, used));
      bytes.remove_prefix(used);
      if (request_.size() < kSslRequest.size()) return {};
      if (request_ != kSslRequest && request_ != kGssEncRequest) return kNever;
      due_ = request_ == kSslRequest ? Due::ssl : Due::gss;
      request_.clear();
    }
    if (bytes.empty()) return {};
    const bool tls = !hasty_ && bytes.starts_with(kHandshakeRecord);
    hasty_ = true;
    return tls ? kNever : Finding{};
  }

  Finding server(std::string_view bytes) {
    if (due_ == Due::nothing || bytes.size() != 1) return kNever;
    if (bytes == "S" && due_ == Due::ssl) return {Finding::Verdict::agreed, 1};
    if (bytes != "N" || hasty_) return kNever;
    due_ = Due::nothing;
    return {};
  }

  std::string request_;  ///< as far as it has come
  Due due_ = Due::nothing;
  bool hasty_ = false;  ///< the program went on before the answer
};

}  // namespace

std::unique_ptr<Machine> make_postgresql() {
  return std::make_unique<Postgresql>();
}

}  // namespace mitm::starttls
