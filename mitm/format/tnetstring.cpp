// Lengths stand before what they measure: a container gets its prefix when it ends. Its content
// moves once for each level around it, of which flows have three.
#include "mitm/format/tnetstring.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "base/text.h"

namespace mitm::format {
namespace {

using Kind = TnetValue::Kind;

/// Flows nest six levels; a damaged file must not use up the stack.
constexpr int kMaxDepth = 32;

void append_value(std::string& out, std::string_view payload, char tag) {
  const fmt::format_int length(payload.size());
  out.append(length.data(), length.size()).append(":").append(payload) += tag;
}

base::Result<TnetValue> parse(std::string_view payload, char tag, int depth);

/// Takes one value from the front of `rest`.
base::Result<TnetValue> take(std::string_view& rest, int depth) {
  const std::size_t colon = rest.substr(0, kTnetMaxDigits + 1).find(':');
  std::size_t length = 0;
  if (colon == rest.npos || colon == 0) return base::failure("a length is missing");
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + colon, length);
  if (error != std::errc{} || end != rest.data() + colon)
    return base::failure("a length is not a number");
  rest.remove_prefix(colon + 1);
  if (length >= rest.size()) return base::failure("a value is longer than what is around it");
  const std::string_view payload = rest.substr(0, length);
  const char tag = rest[length];
  rest.remove_prefix(length + 1);
  return parse(payload, tag, depth);
}

base::Result<TnetValue> parse_items(std::string_view payload, Kind kind, int depth) {
  if (depth == kMaxDepth) return base::failure("values nest deeper than {} levels", kMaxDepth);
  TnetValue value;
  value.kind = kind;
  while (!payload.empty()) {
    auto item = take(payload, depth + 1);
    if (!item) return item;
    value.items.push_back(std::move(*item));
  }
  if (kind == Kind::dict && value.items.size() % 2 != 0)
    return base::failure("a dictionary has a key without a value");
  return value;
}

base::Result<TnetValue> parse_integer(std::string_view payload) {
  TnetValue value;
  value.kind = Kind::integer;
  const char* const end = payload.data() + payload.size();
  const auto [stop, error] = std::from_chars(payload.data(), end, value.number);
  if (error != std::errc{} || stop != end) return base::failure("an integer is malformed");
  return value;
}

base::Result<TnetValue> parse_real(std::string_view payload) {
  TnetValue value;
  value.kind = Kind::real;
  const std::string text(payload);  // not every C++ library has std::from_chars for this
  char* end = nullptr;
  value.real = std::strtod(text.c_str(), &end);
  if (text.empty() || end != text.c_str() + text.size() || !std::isfinite(value.real))
    return base::failure("a number is malformed");
  return value;
}

base::Result<TnetValue> parse(std::string_view payload, char tag, int depth) {
  TnetValue value;
  switch (tag) {
    case ',':
    case ';':
      value.kind = tag == ',' ? Kind::bytes : Kind::text;
      value.payload = payload;
      return value;
    case '#':
      return parse_integer(payload);
    case '^':
      return parse_real(payload);
    case '!':
      if (payload != "true" && payload != "false") return base::failure("a boolean is malformed");
      value.kind = Kind::boolean;
      value.truth = payload == "true";
      return value;
    case '~':
      if (!payload.empty()) return base::failure("a null has a payload");
      return value;
    case ']':
      return parse_items(payload, Kind::list, depth);
    case '}':
      return parse_items(payload, Kind::dict, depth);
    default:
      return base::failure("unknown tag '{}'", base::printable({&tag, 1}));
  }
}

}  // namespace

void append_tnet_bytes(std::string& out, std::string_view bytes) {
  append_value(out, bytes, ',');
}

void append_tnet_text(std::string& out, std::string_view text) {
  if (base::is_utf8(text)) return append_value(out, text, ';');
  append_value(out, base::valid_utf8(text), ';');
}

void append_tnet_integer(std::string& out, std::int64_t number) {
  const fmt::format_int digits(number);
  append_value(out, {digits.data(), digits.size()}, '#');
}

void append_tnet_real(std::string& out, double number) {
  append_value(out, fmt::format("{}", number), '^');  // shortest text that is read as this number
}

void append_tnet_boolean(std::string& out, bool truth) {
  append_value(out, truth ? "true" : "false", '!');
}

void append_tnet_null(std::string& out) {
  append_value(out, {}, '~');
}

void TnetList::end() {
  const fmt::format_int length(out_.size() - begin_);
  out_.insert(begin_, length.c_str(), length.size());
  out_.insert(begin_ + length.size(), 1, ':');
  out_ += tag_;
}

std::string& TnetDict::key(std::string_view name) {
  append_value(out_, name, ';');
  return out_;
}

void TnetDict::text_or_null(std::string_view name, std::string_view value) {
  value.empty() ? null(name) : text(name, value);
}

void TnetDict::real(std::string_view name, const std::optional<double>& value) {
  value ? real(name, *value) : null(name);
}

const TnetValue* TnetValue::find(std::string_view key) const {
  if (kind != Kind::dict) return nullptr;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i].string() == key) return &items[i + 1];
  }
  return nullptr;
}

std::string_view TnetValue::string() const {
  return kind == Kind::bytes || kind == Kind::text ? payload : std::string_view();
}

std::optional<double> TnetValue::as_real() const {
  if (kind == Kind::real) return real;
  if (kind == Kind::integer) return static_cast<double>(number);
  return std::nullopt;
}

base::Result<TnetValue> parse_tnet(std::string_view payload, char tag) {
  return parse(payload, tag, 0);
}

}  // namespace mitm::format
