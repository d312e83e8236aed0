// Nothing here holds more than a few bytes of a message: what is looked for is short, the rest is
// counted.
#include "mitm/starttls/framing.h"

#include <algorithm>

#include "base/ascii.h"

namespace mitm::starttls {
namespace {

struct Header {
  std::size_t size = 0;  ///< of tag and length; 0: not all of it is there
  std::size_t contents = 0;
  bool bad = false;
};

Header header_of(std::string_view in) {
  if (in.size() < 2) return {};
  const auto first = static_cast<unsigned char>(in[1]);
  if (first < 0x80) return {2, first, false};
  const std::size_t more = first & 0x7fU;
  if (more == 0 || more > 4) return {0, 0, true};
  if (in.size() < 2 + more) return {};
  std::size_t contents = 0;
  for (const char c : in.substr(2, more)) contents = contents << 8 | static_cast<unsigned char>(c);
  return {2 + more, contents, false};
}

}  // namespace

std::optional<std::string_view> Lines::next(std::string_view& bytes) {
  if (!begun_) line_.clear();
  const auto newline = bytes.find('\n');
  const auto used = newline == bytes.npos ? bytes.size() : newline + 1;
  begun_ = begun_ || used > 0;
  line_.append(bytes.substr(0, std::min(used, kKept - line_.size())));
  bytes.remove_prefix(used);
  if (newline == bytes.npos) return std::nullopt;
  begun_ = false;
  const auto last = line_.find_last_not_of(" \t\r\n");
  return std::string_view(line_).substr(0, last == line_.npos ? 0 : last + 1);
}

void Elements::read_header() {
  constexpr char kSequence = 0x30;
  const Header header = header_of(kept_);
  bad_ = header.bad || kept_[0] != kSequence;
  if (header.size > 0) size_ = header.size + header.contents;
}

std::optional<std::string_view> Elements::next(std::string_view& bytes) {
  if (at_start()) {
    kept_.clear();
    seen_ = size_ = 0;
  }
  while (size_ == 0 && !bad_ && !bytes.empty()) {
    kept_ += bytes.front();
    bytes.remove_prefix(1);
    ++seen_;
    read_header();
  }
  if (bad_ || size_ == 0) return std::nullopt;
  const auto used = std::min(size_ - seen_, bytes.size());
  kept_.append(bytes.substr(0, std::min(used, kKept - std::min(kKept, kept_.size()))));
  bytes.remove_prefix(used);
  seen_ += used;
  if (!at_start()) return std::nullopt;
  return kept_;
}

std::optional<Element> take_element(std::string_view& in) {
  const Header header = header_of(in);
  if (header.size == 0) return std::nullopt;
  const Element element{static_cast<unsigned char>(in[0]), in.substr(header.size, header.contents)};
  in.remove_prefix(header.size + element.value.size());
  return element;
}

std::string_view take_word(std::string_view& line) {
  const auto word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  return word;
}

bool is_word(std::string_view text, std::string_view upper) {
  return base::iequals(text, upper);
}

}  // namespace mitm::starttls
