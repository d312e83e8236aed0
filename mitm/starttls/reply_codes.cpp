// SMTP and FTP: both greet with 220 and answer each line with a code; which of them it is shows
// when the program asks for TLS. Answers carry no name of what they answer, so they are counted.
#include <string>
#include <utility>

#include "mitm/starttls/framing.h"
#include "mitm/starttls/machine.h"

namespace mitm::starttls {
namespace {

using Verdict = Finding::Verdict;

bool is_code(std::string_view line) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return line.size() >= 3 && digit(line[0]) && digit(line[1]) && digit(line[2]);
}

class ReplyCodes final : public Machine {
 public:
  Finding feed(From from, std::string_view bytes) override {
    return from == From::program ? program(bytes) : server(bytes);
  }
  [[nodiscard]] std::string_view protocol() const override { return ftp_ ? "ftp" : "smtp"; }

 private:
  Finding program(std::string_view bytes) {
    for (;;) {
      if (asked() && commands_.at_start() && bytes.starts_with(kHandshakeRecord)) return kNever;
      const auto line = commands_.next(bytes);
      if (!line) return {};
      ++due_;
      if (!command(*line)) return kNever;
    }
  }

  /// False: from here on there will be no TLS. (A program that has given its password in plain does
  /// not ask.)
  bool command(std::string_view line) {
    const auto verb = take_word(line);
    const bool wants_ftp =
        is_word(verb, "AUTH") && (is_word(line, "TLS") || is_word(line, "TLS-C") ||
                                  is_word(line, "SSL") || is_word(line, "TLS-P"));
    const bool wants_smtp = is_word(verb, "STARTTLS") && line.empty();
    if ((wants_ftp || wants_smtp) && !asked()) {
      ftp_ = wants_ftp;
      answer_in_ = due_;
      return true;
    }
    return wants_ftp || !(is_word(verb, "AUTH") || is_word(verb, "DATA") || is_word(verb, "BDAT") ||
                          is_word(verb, "PASS"));
  }

  Finding server(std::string_view bytes) {
    const auto size = bytes.size();
    while (const auto line = replies_.next(bytes)) {
      if (!is_last_line(*line)) {
        if (code_.empty()) return kNever;
        continue;
      }
      const std::string code = std::exchange(code_, {});
      if (code[0] == '1') continue;  // FTP: the real answer is still to come
      if (due_ == 0) return kNever;
      --due_;
      if (!asked() || --answer_in_ > 0 || code != (ftp_ ? "234" : "220")) continue;
      return bytes.empty() ? Finding{Verdict::agreed, size} : kNever;
    }
    return {};
  }

  /// Keeps the code of the reply that the line belongs to; none is kept when it belongs to no
  /// reply. Lines between the first and the last are anything in FTP.
  bool is_last_line(std::string_view line) {
    const bool coded = is_code(line);
    if (code_.empty()) {
      if (!coded) return false;
      code_ = line.substr(0, 3);
      return line.size() == 3 || line[3] != '-';
    }
    return coded && line.starts_with(code_) && (line.size() == 3 || line[3] == ' ');
  }

  [[nodiscard]] bool asked() const { return answer_in_ > 0; }

  Lines commands_;
  Lines replies_;
  std::string code_;           ///< of a reply of several lines that goes on
  std::size_t due_ = 1;        ///< replies that are to come; the first is the greeting
  std::size_t answer_in_ = 0;  ///< replies until the one to the request; 0: nothing asked
  bool ftp_ = false;
};

}  // namespace

std::unique_ptr<Machine> make_reply_codes() {
  return std::make_unique<ReplyCodes>();
}

}  // namespace mitm::starttls
