// What the protocols' messages are made of: lines, and elements of BER.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mitm::starttls {

/// One direction of a text protocol. Keeps the beginning of an unfinished line.
class Lines {
 public:
  /// The next whole line, without CR, LF and blanks at its end, cut to kKept bytes; `bytes` lose
  /// what was used. Valid until the next call. Nothing: all bytes are used, the line goes on.
  [[nodiscard]] std::optional<std::string_view> next(std::string_view& bytes);
  [[nodiscard]] bool at_start() const { return !begun_; }

 private:
  static constexpr std::size_t kKept = 128;
  std::string line_;
  bool begun_ = false;
};

/// One direction of LDAP: elements one after another.
class Elements {
 public:
  /// The next whole element's first kKept bytes, as Lines::next. See bad().
  [[nodiscard]] std::optional<std::string_view> next(std::string_view& bytes);
  [[nodiscard]] bool at_start() const { return seen_ == size_; }
  /// What came is no SEQUENCE of definite length. Nothing more will be found.
  [[nodiscard]] bool bad() const { return bad_; }

 private:
  static constexpr std::size_t kKept = 96;
  void read_header();
  std::string kept_;
  std::size_t seen_ = 0;
  std::size_t size_ = 0;  ///< header and contents; 0: not known yet
  bool bad_ = false;
};

/// Tag and contents of the element that `in` begins with, which loses it; the contents as far as
/// they are there. One-byte tags, definite lengths of up to four bytes.
struct Element {
  unsigned char tag = 0;
  std::string_view value;
};
[[nodiscard]] std::optional<Element> take_element(std::string_view& in);

/// The first word of `line`, which loses it and the blanks behind it.
std::string_view take_word(std::string_view& line);
/// ASCII, `upper` in capitals.
[[nodiscard]] bool is_word(std::string_view text, std::string_view upper);

}  // namespace mitm::starttls
