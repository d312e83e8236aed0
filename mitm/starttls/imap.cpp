// IMAP names in each answer the command that it answers.
#include <string>

#include "mitm/starttls/framing.h"
#include "mitm/starttls/machine.h"

namespace mitm::starttls {
namespace {

class Imap final : public Machine {
 public:
  Finding feed(From from, std::string_view bytes) override {
    return from == From::program ? program(bytes) : server(bytes);
  }
  [[nodiscard]] std::string_view protocol() const override { return "imap"; }

 private:
  Finding program(std::string_view bytes) {
    for (;;) {
      if (!tag_.empty() && commands_.at_start() && bytes.starts_with(kHandshakeRecord))
        return kNever;
      auto line = commands_.next(bytes);
      if (!line) return {};
      const auto tag = take_word(*line);
      const auto command = take_word(*line);
      if (is_word(command, "LOGIN") || is_word(command, "AUTHENTICATE")) return kNever;
      if (is_word(command, "STARTTLS") && line->empty() && tag_.empty()) tag_ = tag;
    }
  }

  Finding server(std::string_view bytes) {
    const auto size = bytes.size();
    while (auto line = answers_.next(bytes)) {
      if (tag_.empty() || take_word(*line) != tag_) continue;
      if (is_word(take_word(*line), "OK"))
        return bytes.empty() ? Finding{Finding::Verdict::agreed, size} : kNever;
      tag_.clear();
    }
    return {};
  }

  Lines commands_;
  Lines answers_;
  std::string tag_;  ///< of a STARTTLS that is not answered yet; empty: none
};

}  // namespace

std::unique_ptr<Machine> make_imap() {
  return std::make_unique<Imap>();
}

}  // namespace mitm::starttls
