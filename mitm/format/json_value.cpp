#include "mitm/format/json_value.h"

#include <charconv>
#include <cmath>

#include "base/base64.h"
#include "base/text.h"

namespace mitm::format {
namespace {

using nlohmann::json;

constexpr double kMostMillis = 1e11;  // 3 years

/// Takes a number of `digits` digits from the front.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
  int value = 0;
  if (text.size() < digits) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (error != std::errc{} || end != text.data() + digits || value < 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

std::chrono::microseconds take_fraction(std::string_view& text) {
  std::int64_t micros = 0, unit = 100'000;
  for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1), unit /= 10)
    micros += (text[0] - '0') * unit;
  return std::chrono::microseconds(micros);
}

/// What Z or "+01:00" adds to UTC; no zone is UTC.
std::optional<std::chrono::minutes> take_zone(std::string_view& text) {
  if (text.empty() || take(text, 'Z') || take(text, 'z')) return std::chrono::minutes(0);
  const bool behind = take(text, '-');
  if (!behind && !take(text, '+')) return std::nullopt;
  const auto hours = take_number(text, 2);
  take(text, ':');
  const auto minutes = take_number(text, 2);
  if (!hours || !minutes) return std::nullopt;
  return std::chrono::minutes((behind ? -1 : 1) * (*hours * 60 + *minutes));
}

}  // namespace

std::optional<flow::Time> parse_time(std::string_view text) {
  const auto year = take_number(text, 4);
  if (!year || !take(text, '-')) return std::nullopt;
  const auto month = take_number(text, 2);
  if (!month || !take(text, '-')) return std::nullopt;
  const auto day = take_number(text, 2);
  if (!day || !(take(text, 'T') || take(text, 't') || take(text, ' '))) return std::nullopt;
  const auto hour = take_number(text, 2);
  if (!hour || !take(text, ':')) return std::nullopt;
  const auto minute = take_number(text, 2);
  if (!minute || !take(text, ':')) return std::nullopt;
  const auto second = take_number(text, 2);
  if (!second) return std::nullopt;
  const auto fraction = take(text, '.') ? take_fraction(text) : std::chrono::microseconds(0);
  const auto zone = take_zone(text);
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  constexpr int kFirstYear = 1970, kLastYear = 2200;  // what the clock can hold
  if (!zone || !text.empty() || !date.ok() || *year < kFirstYear || *year > kLastYear)
    return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) + fraction - *zone;
}

std::optional<json> parse_json(std::string_view text) {
  json value = base::is_utf8(text) ? json::parse(text, nullptr, false)
                                   : json::parse(base::valid_utf8(text), nullptr, false);
  if (value.is_discarded()) return std::nullopt;
  return value;
}

const json& json_member(const json& object, std::string_view name) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

std::string json_text(const json& object, std::string_view name) {
  const json& value = json_member(object, name);
  return value.is_string() ? value.get_ref<const std::string&>() : std::string();
}

bool json_true(const json& object, std::string_view name) {
  const json& value = json_member(object, name);
  return value.is_boolean() && value.get<bool>();
}

std::optional<double> json_number(const json& object, std::string_view name) {
  const json& value = json_member(object, name);
  if (!value.is_number()) return std::nullopt;
  const auto number = value.get<double>();
  if (!std::isfinite(number)) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> json_count(const json& object, std::string_view name) {
  const json& value = json_member(object, name);
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  constexpr double kMost = 9e15;
  const auto number = json_number(object, name);  // some programs write 5.0
  if (!number || *number < 0 || *number > kMost) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

flow::Offset json_millis(const json& object, std::string_view name) {
  const auto millis = json_number(object, name);
  if (!millis || *millis < 0 || *millis > kMostMillis) return std::nullopt;
  return std::chrono::microseconds(std::llround(*millis * 1000));
}

std::optional<flow::Time> json_time(const json& object, std::string_view name) {
  const json& value = json_member(object, name);
  if (!value.is_string()) return std::nullopt;
  return parse_time(value.get_ref<const std::string&>());
}

std::string json_bytes(const json& object, std::string_view name) {
  const json& value = json_member(object, name);
  if (!value.is_string()) return {};
  return base::from_base64(value.get_ref<const std::string&>()).value_or(std::string());
}

std::vector<std::string> json_texts(const json& object, std::string_view name) {
  std::vector<std::string> texts;
  for (const json& item : json_member(object, name)) {
    if (item.is_string()) texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace mitm::format
