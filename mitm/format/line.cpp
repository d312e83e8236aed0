// Colours are written around each part, so that a line can be cut between its parts.
#include "mitm/format/line.h"

#include <algorithm>

namespace mitm::format {

std::size_t columns(std::string_view utf8) {
  return static_cast<std::size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string shortened(std::string_view utf8, std::size_t limit) {
  if (columns(utf8) <= limit) return std::string(utf8);
  std::size_t end = 0;
  for (std::size_t seen = 0; end < utf8.size(); ++end) {
    if ((utf8[end] & 0xc0) != 0x80 && ++seen == limit) break;
  }
  return std::string(utf8.substr(0, end)) + "…";
}

Line& Line::add(std::string_view text, std::string_view sgr) {
  columns_ += format::columns(text);
  if (!colour_ || sgr.empty()) {
    text_ += text;
  } else {
    text_.append("\x1b[").append(sgr).append("m").append(text).append("\x1b[0m");
  }
  return *this;
}

Line& Line::add(const Line& other) {
  columns_ += other.columns_;
  text_ += other.text_;
  return *this;
}

}  // namespace mitm::format
