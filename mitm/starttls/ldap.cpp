// LDAP: an extended request and its response, which carries the request's message id. TLS may begin
// while nothing else is under way only, so that whatever comes between is not looked at.
#include <optional>
#include <string>

#include "mitm/starttls/framing.h"
#include "mitm/starttls/machine.h"

namespace mitm::starttls {
namespace {

constexpr unsigned char kInteger = 0x02, kEnumerated = 0x0a;
constexpr unsigned char kExtendedRequest = 0x77, kExtendedResponse = 0x78, kRequestName = 0x80;
constexpr std::string_view kStartTls = "1.3.6.1.4.1.1466.20037";

struct Message {
  std::string_view id;
  Element operation;
};

std::optional<Message> read_message(std::string_view bytes) {
  const auto outer = take_element(bytes);
  if (!outer) return std::nullopt;
  std::string_view in = outer->value;
  const auto id = take_element(in);
  const auto operation = take_element(in);
  if (!id || !operation || id->tag != kInteger) return std::nullopt;
  return Message{id->value, *operation};
}

/// Whether the operation's first part is `tag` with these contents.
bool begins_with(Element operation, unsigned char tag, std::string_view contents) {
  const auto first = take_element(operation.value);
  return first && first->tag == tag && first->value == contents;
}

class Ldap final : public Machine {
 public:
  Finding feed(From from, std::string_view bytes) override {
    return from == From::program ? program(bytes) : server(bytes);
  }
  [[nodiscard]] std::string_view protocol() const override { return "ldap"; }

 private:
  Finding program(std::string_view bytes) {
    while (const auto element = requests_.next(bytes)) {
      const auto message = read_message(*element);
      if (!message) return kNever;
      const bool wants = message->operation.tag == kExtendedRequest &&
                         begins_with(message->operation, kRequestName, kStartTls);
      if (wants && asked_.empty()) asked_ = message->id;
    }
    return requests_.bad() ? kNever : Finding{};  // a TLS record is no element: bad
  }

  Finding server(std::string_view bytes) {
    const auto size = bytes.size();
    while (const auto element = responses_.next(bytes)) {
      const auto message = read_message(*element);
      if (!message) return kNever;
      if (asked_.empty() || message->id != asked_ || message->operation.tag != kExtendedResponse)
        continue;
      constexpr std::string_view kSuccess{"\0", 1};
      asked_.clear();
      if (begins_with(message->operation, kEnumerated, kSuccess))
        return bytes.empty() ? Finding{Finding::Verdict::agreed, size} : kNever;
    }
    return responses_.bad() ? kNever : Finding{};
  }

  Elements requests_;
  Elements responses_;
  std::string asked_;  ///< message id of the request that is not answered yet; empty: none
};

}  // namespace

std::unique_ptr<Machine> make_ldap() {
  return std::make_unique<Ldap>();
}

}  // namespace mitm::starttls
