#include "mitm/control/value_check.h"

#include <algorithm>

#include <fmt/ranges.h>
#include <re2/re2.h>

#include "base/ascii.h"
#include "base/suggestion.h"
#include "base/text.h"

namespace mitm::control {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;

constexpr auto kLongestDelay = std::chrono::hours{1};

bool is_token(char c) {
  return base::is_letter(c) || base::is_digit(c) ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

}  // namespace

std::string shown(const json& value) {
  constexpr std::size_t kLongest = 60;
  if (value.is_object() && value.dump().size() > kLongest) return "an object";
  if (value.is_array() && value.dump().size() > kLongest) return "a list";
  std::string text = value.is_string() ? "'" + value.get<std::string>() + "'"
                                       : value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return base::printable(text);
}

base::Error unexpected(std::string_view expected, const json& value) {
  return failure("expected {}, found {}", expected, shown(value));
}

std::string unknown_key(std::string_view key, const std::vector<std::string_view>& keys) {
  const std::string near = base::suggestion(key, keys);
  return near.empty() ? fmt::format("unknown key; expected one of {}", fmt::join(keys, ", "))
                      : "unknown key" + near;
}

Result<Regex> parse_regex(std::string_view text) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_dot_nl(true);
  // "." is a byte, which may be of any charset; only expressions that are not ASCII need UTF-8.
  const bool ascii = std::ranges::all_of(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0x80U) == 0; });
  if (ascii || !base::is_utf8(text)) options.set_encoding(RE2::Options::EncodingLatin1);
  auto regex = std::make_shared<const RE2>(re2::StringPiece(text.data(), text.size()), options);
  if (regex->ok()) return Regex(std::move(regex));
  const std::string& part = regex->error_arg();
  const bool looks_around =
      part.starts_with("(?=") || part.starts_with("(?!") || part.starts_with("(?<");
  return failure("expected a regular expression of RE2{}, found '{}': {}",
                 looks_around ? ", which has no look-around" : "", base::printable(text),
                 base::printable(regex->error()));
}

Result<query::Filter> parse_match(std::string_view text) {
  auto filter = query::Filter::parse(text);
  if (!filter) return failure("{}", filter.error().message());
  const query::Field* const field = filter->unknown_in_exchange();
  if (field == nullptr) return std::move(*filter);
  const std::string name = field->letter.empty() || field->letter == field->name
                               ? std::string(field->name)
                               : fmt::format("{} (~{})", field->name, field->letter);
  if ((field->kinds & query::kHttp) == 0)
    return failure("{} is of other flows than HTTP, and rules are for HTTP", name);
  return failure(
      "{} is known only when the flow has ended; while messages pass, their heads and bodies are, "
      "and what is said of the connection and its process",
      name);
}

Result<> check_field_name(std::string_view name) {
  if (!name.empty() && std::ranges::all_of(name, is_token)) return {};
  return failure("expected a name of letters, digits and - (RFC 9110), found '{}'",
                 base::printable(name.substr(0, 40)));
}

Result<> check_field_value(std::string_view value) {
  if (std::ranges::none_of(value, is_control)) return {};
  return failure("expected a value on one line, without control characters, found '{}'",
                 base::printable(value.substr(0, 40)));
}

Result<std::chrono::milliseconds> parse_delay(std::string_view text) {
  // Thousandths; std::from_chars of floating-point numbers is not in every library.
  std::int64_t number = 0;
  std::int64_t digit = 1000;
  std::size_t at = 0;
  bool fraction = false;
  constexpr std::int64_t kEnough = std::int64_t{1} << 40;
  for (; at < text.size() && number < kEnough; ++at) {
    if (text[at] == '.' && !fraction && at > 0) {
      fraction = true;
    } else if (!base::is_digit(text[at])) {
      break;
    } else if (fraction) {
      digit /= 10;
      number += digit * (text[at] - '0');
    } else {
      number = number * 10 + digit * (text[at] - '0');
    }
  }
  const std::string_view unit = text.substr(at);
  const std::int64_t factor = unit == "ms" ? 1 : unit == "s" ? 1000 : unit == "m" ? 60'000 : 0;
  const std::chrono::milliseconds time{number * factor / 1000};
  if (time >= std::chrono::milliseconds{1} && time <= kLongestDelay) return time;
  return failure("expected a time from 1ms to 60m such as 300ms, 1.5s or 2m, found '{}'",
                 base::printable(text.substr(0, 40)));
}

}  // namespace mitm::control
