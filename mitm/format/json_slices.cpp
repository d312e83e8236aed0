// Brackets are counted and strings are passed over; whether a value is well-formed, its own parser
// says.
#include "mitm/format/json_slices.h"

#include <utility>

#include <fmt/format.h>

#include "base/text.h"

namespace mitm::format {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
/// Of one item: a damaged file must not fill the memory.
constexpr std::size_t kLargest = 1U << 30U;

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool ends_scalar(char c) {
  return is_blank(c) || c == ',' || c == ']' || c == '}' || c == ':';
}

/// Where one value ends, fed with its bytes.
class ValueEnd {
 public:
  /// Bytes of `text`, all of which are new, that belong to the value; ended() may hold then.
  std::size_t feed(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (quoted_) {
        i += step_string(text.substr(i));
        if (!quoted_ && depth_ == 0) return finish(i + 1);
        continue;
      }
      if (scalar_ && ends_scalar(c)) return finish(i);
      if (c == '"') quoted_ = true;
      if (c == '{' || c == '[') ++depth_;
      if ((c == '}' || c == ']') && --depth_ <= 0) return finish(i + 1);
      if (depth_ == 0 && !quoted_) scalar_ = true;
    }
    return text.size();
  }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool is_scalar() const { return scalar_; }

 private:
  std::size_t finish(std::size_t size) {
    ended_ = true;
    return size;
  }

  /// Inside a string: returns how many bytes behind the first one are passed over.
  std::size_t step_string(std::string_view text) {
    if (std::exchange(escaped_, false)) return 0;
    const std::size_t end = text.find_first_of("\"\\");
    if (end == text.npos) return text.size() - 1;
    if (text[end] == '"') quoted_ = false;
    if (text[end] == '\\') escaped_ = true;
    return end;
  }

  int depth_ = 0;
  bool quoted_ = false, escaped_ = false, scalar_ = false, ended_ = false;
};

}  // namespace

base::Error JsonSlices::failure(std::string_view what) const {
  return base::failure("byte {}: {}", buffer_.offset(), what);
}

/// The next byte that is not blank; stays in the buffer. Zero: the end.
base::Result<char> JsonSlices::peek() {
  for (;;) {
    const std::string_view view = buffer_.view();
    std::size_t blanks = 0;
    while (blanks < view.size() && is_blank(view[blanks])) ++blanks;
    buffer_.consume(blanks);
    if (blanks < view.size()) return view[blanks];
    auto more = buffer_.more();
    if (!more) return more.error();
    if (!*more) return '\0';
  }
}

base::Result<> JsonSlices::expect(char wanted) {
  const auto found = peek();
  if (!found) return found.error();
  if (*found == '\0' && buffer_.view().empty())
    return failure(fmt::format("the file ends where '{}' is expected", wanted));
  if (*found != wanted) {
    return failure(fmt::format("expected '{}', found '{}'", wanted,
                               base::printable(buffer_.view().substr(0, 1))));
  }
  buffer_.consume(1);
  return {};
}

base::Result<std::size_t> JsonSlices::value_size() {
  if (const auto first = peek(); !first) return first.error();
  if (!buffer_.view().empty() && buffer_.view().find_first_of(",:]}") == 0)
    return failure("a value is missing");
  ValueEnd value;
  std::size_t size = 0;
  for (;;) {
    size += value.feed(buffer_.view().substr(size));
    if (value.ended()) break;
    if (size > kLargest) return failure(fmt::format("a value of more than {} bytes", kLargest));
    auto more = buffer_.more();
    if (!more) return more.error();
    if (!*more && !(value.is_scalar() && size > 0))
      return failure(fmt::format("the file ends after {} bytes of a value", size));
    if (!*more) break;
  }
  if (size == 0) return failure("a value is missing");
  return size;
}

base::Result<> JsonSlices::skip_value() {
  const auto size = value_size();
  if (!size) return size.error();
  buffer_.consume(*size);
  return {};
}

/// Names with escapes are none that we look for.
base::Result<std::string> JsonSlices::read_key() {
  if (const auto first = peek(); !first) return first.error();
  if (!buffer_.view().starts_with('"')) return failure("a name is missing");
  const auto size = value_size();
  if (!size) return size.error();
  std::string key(buffer_.view().substr(1, *size - 2));
  buffer_.consume(*size);
  if (auto colon = expect(':'); !colon) return colon.error();
  return key;
}

/// Goes to the value of the next member. False: the object has ended, and its end is consumed.
base::Result<bool> JsonSlices::enter_member() {
  const auto next = peek();
  if (!next) return next.error();
  if (*next == '}') {
    buffer_.consume(1);
    return false;
  }
  if (!std::exchange(first_, false)) {
    if (auto comma = expect(','); !comma) return comma.error();
  }
  auto key = read_key();
  if (!key) return key.error();
  key_ = std::move(*key);
  return true;
}

/// One step through what is around the arrays.
base::Result<> JsonSlices::step() {
  if (where_ == Where::before) {
    if (auto filled = buffer_.fill(kByteOrderMark.size()); !filled) return filled.error();
    if (buffer_.view().starts_with(kByteOrderMark)) buffer_.consume(kByteOrderMark.size());
    where_ = Where::top;
    first_ = true;
    return expect('{');
  }
  auto inside = enter_member();
  if (!inside) return inside.error();
  if (!*inside) {
    where_ = where_ == Where::log ? Where::top : Where::done;
    first_ = false;
    return {};
  }
  const auto next = peek();
  if (!next) return next.error();
  const bool enters = (where_ == Where::top && key_ == "log" && *next == '{') ||
                      (where_ == Where::log && *next == '[');
  if (!enters) return skip_value();
  buffer_.consume(1);
  where_ = where_ == Where::top ? Where::log : Where::array;
  first_ = true;
  return {};
}

base::Result<JsonSlices::Slice> JsonSlices::next() {
  while (where_ != Where::done) {
    if (where_ != Where::array) {
      if (auto stepped = step(); !stepped) return stepped.error();
      continue;
    }
    const auto next = peek();
    if (!next) return next.error();
    if (*next == ']') {
      buffer_.consume(1);
      where_ = Where::log;
      first_ = false;
      continue;
    }
    if (!std::exchange(first_, false)) {
      if (auto comma = expect(','); !comma) return comma.error();
    }
    const auto size = value_size();
    if (!size) return size.error();
    const Slice slice{key_, buffer_.view().substr(0, *size), buffer_.offset()};
    buffer_.consume(*size);  // the bytes stay until more are read
    return slice;
  }
  return Slice{};
}

}  // namespace mitm::format
