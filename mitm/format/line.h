// One line of the text format, of known width, with or without colours.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mitm::format {

// SGR parameters of ECMA-48.
inline constexpr std::string_view kPlain = "";
inline constexpr std::string_view kBold = "1";
inline constexpr std::string_view kDim = "2";
inline constexpr std::string_view kRed = "31";
inline constexpr std::string_view kGreen = "32";
inline constexpr std::string_view kYellow = "33";
inline constexpr std::string_view kCyan = "36";

/// Columns of a terminal, counting each character as one.
[[nodiscard]] std::size_t columns(std::string_view utf8);

/// The first `limit` columns, the last one an ellipsis when something is missing.
[[nodiscard]] std::string shortened(std::string_view utf8, std::size_t limit);

/// A line under construction that knows how wide it is.
class Line {
 public:
  explicit Line(bool colour) : colour_(colour) {}

  Line& add(std::string_view text, std::string_view sgr = kPlain);
  Line& add(const Line& other);
  [[nodiscard]] std::size_t columns() const { return columns_; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  bool colour_;
  std::size_t columns_ = 0;
  std::string text_;
};

}  // namespace mitm::format
