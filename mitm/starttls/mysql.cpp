// MySQL and MariaDB: the server's greeting says whether it can do TLS; the program begins its
// answer to it, says in it that it wants TLS, and goes on with TLS at once, without waiting for
// anything.
#include <algorithm>
#include <string>

#include "mitm/starttls/machine.h"

namespace mitm::starttls {
namespace {

constexpr std::size_t kHeader = 4;  // length (3, little-endian), sequence number
constexpr std::size_t kMostGreeting = 1024;
constexpr std::size_t kRequest = 32;  // flags 4, largest packet 4, character set 1, nothing 23
constexpr unsigned kProtocol41 = 0x0200, kSsl = 0x0800;

std::size_t number(std::string_view little_endian) {
  std::size_t value = 0;
  for (std::size_t i = little_endian.size(); i > 0; --i)
    value = value << 8 | static_cast<unsigned char>(little_endian[i - 1]);
  return value;
}

/// Collects one packet.
class Packet {
 public:
  /// Takes from `bytes` what belongs to it.
  void take(std::string_view& bytes) {
    while (!whole() && !bytes.empty()) {
      const auto used = std::min(missing(), bytes.size());
      bytes_.append(bytes.substr(0, used));
      bytes.remove_prefix(used);
    }
  }
  [[nodiscard]] bool known() const { return bytes_.size() >= kHeader; }
  [[nodiscard]] bool whole() const { return known() && missing() == 0; }
  [[nodiscard]] std::size_t size() const { return number(std::string_view(bytes_).substr(0, 3)); }
  [[nodiscard]] unsigned sequence() const { return static_cast<unsigned char>(bytes_[3]); }
  [[nodiscard]] std::string_view payload() const {
    return std::string_view(bytes_).substr(kHeader);
  }

 private:
  [[nodiscard]] std::size_t missing() const {
    return (known() ? kHeader + size() : kHeader) - bytes_.size();
  }
  std::string bytes_;
};

/// The greeting of protocol version 10: version text, connection id, eight bytes of challenge, a
/// zero, flags.
bool offers_tls(std::string_view greeting) {
  constexpr std::size_t kBehindVersion = 4 + 8 + 1;
  const auto zero = greeting.find('\0');
  if (!greeting.starts_with('\x0a') || zero == greeting.npos) return false;
  greeting.remove_prefix(zero + 1);
  return greeting.size() >= kBehindVersion + 2 &&
         (number(greeting.substr(kBehindVersion, 2)) & kSsl) != 0;
}

class Mysql final : public Machine {
 public:
  Finding feed(From from, std::string_view bytes) override {
    return from == From::program ? program(bytes) : server(bytes);
  }
  [[nodiscard]] std::string_view protocol() const override { return "mysql"; }

 private:
  Finding server(std::string_view bytes) {
    greeting_.take(bytes);
    if (greeting_.known() && (greeting_.size() > kMostGreeting || greeting_.sequence() != 0))
      return kNever;
    if (!bytes.empty() || (greeting_.whole() && !offers_tls(greeting_.payload()))) return kNever;
    return {};
  }

  Finding program(std::string_view bytes) {
    if (!greeting_.whole()) return kNever;
    const auto size = bytes.size();
    request_.take(bytes);
    if (request_.known() && (request_.size() != kRequest || request_.sequence() != 1))
      return kNever;
    if (!request_.whole()) return {};
    const auto flags = number(request_.payload().substr(0, 4));
    if ((flags & kSsl) == 0 || (flags & kProtocol41) == 0) return kNever;
    return {Finding::Verdict::agreed, size - bytes.size()};
  }

  Packet greeting_;
  Packet request_;
};

}  // namespace

std::unique_ptr<Machine> make_mysql() {
  return std::make_unique<Mysql>();
}

}  // namespace mitm::starttls
