// POP3 answers one command after the other, some with many lines: so the commands are remembered.
#include <deque>

#include "mitm/starttls/framing.h"
#include "mitm/starttls/machine.h"

namespace mitm::starttls {
namespace {

class Pop3 final : public Machine {
 public:
  Finding feed(From from, std::string_view bytes) override {
    return from == From::program ? program(bytes) : server(bytes);
  }
  [[nodiscard]] std::string_view protocol() const override { return "pop3"; }

 private:
  enum class Due : std::uint8_t { line, lines, yes_or_no };
  static constexpr std::size_t kMostDue = 32;

  Finding program(std::string_view bytes) {
    for (;;) {
      if (asked_ && commands_.at_start() && bytes.starts_with(kHandshakeRecord)) return kNever;
      auto line = commands_.next(bytes);
      if (!line) return {};
      const auto verb = take_word(*line);
      const bool gives_password =
          is_word(verb, "PASS") || is_word(verb, "APOP") || is_word(verb, "AUTH");
      if (gives_password || due_.size() >= kMostDue) return kNever;
      const bool wants = is_word(verb, "STLS") && line->empty() && !asked_;
      asked_ = asked_ || wants;
      due_.push_back(wants ? Due::yes_or_no : is_word(verb, "CAPA") ? Due::lines : Due::line);
    }
  }

  Finding server(std::string_view bytes) {
    const auto size = bytes.size();
    while (auto line = answers_.next(bytes)) {
      if (listing_) {
        listing_ = *line != ".";
        continue;
      }
      if (due_.empty()) return kNever;
      const Due answered = due_.front();
      due_.pop_front();
      const bool yes = is_word(take_word(*line), "+OK");
      listing_ = yes && answered == Due::lines;
      if (answered != Due::yes_or_no) continue;
      asked_ = false;
      if (yes) return bytes.empty() ? Finding{Finding::Verdict::agreed, size} : kNever;
    }
    return {};
  }

  Lines commands_;
  Lines answers_;
  std::deque<Due> due_{Due::line};  ///< the greeting
  bool asked_ = false;
  bool listing_ = false;  ///< within an answer that ends with a line of one dot
};

}  // namespace

std::unique_ptr<Machine> make_pop3() {
  return std::make_unique<Pop3>();
}

}  // namespace mitm::starttls
