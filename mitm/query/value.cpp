// Numbers, their units, and times.
#include "mitm/query/value.h"

#include <array>
#include <charconv>
#include <cmath>
#include <ctime>

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/text.h"

namespace mitm::query {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};
constexpr std::array kSizes{Unit{"", 1},
                            Unit{"b", 1},
                            Unit{"k", 1024},
                            Unit{"m", 1024. * 1024},
                            Unit{"g", 1024. * 1024 * 1024},
                            Unit{"t", 1024. * 1024 * 1024 * 1024}};
constexpr std::array kDurations{Unit{"us", 1},   Unit{"ms", 1e3},   Unit{"s", 1e6},
                                Unit{"m", 60e6}, Unit{"h", 3600e6}, Unit{"d", 86400e6}};
/// All smaller integers are exact in a double.
constexpr double kLargest = 9e15;

/// Digits, and a fraction if `fraction`, at the front of `text`, which loses them.
std::optional<double> take_number(std::string_view& text, bool fraction) {
  std::size_t size = text.find_first_not_of("0123456789");
  size = std::min(size, text.size());
  if (size == 0 || size > 15) return std::nullopt;
  if (fraction && size + 1 < text.size() && text[size] == '.' && base::is_digit(text[size + 1]))
    size = std::min(text.find_first_not_of("0123456789", size + 1), text.size());
  const auto number = std::string(text.substr(0, size));
  text.remove_prefix(size);
  // from_chars of floating-point numbers is missing in Zig's libc++ for some systems.
  double value = 0, scale = 0;
  for (const char c : number) {
    if (c == '.') {
      scale = 1;
    } else {
      value = value * 10 + (c - '0');
      scale *= 10;
    }
    if (scale > 1e9) break;
  }
  return scale > 1 ? value / scale : value;
}

template <std::size_t count>
std::optional<Range> with_unit(std::string_view text, const std::array<Unit, count>& units) {
  const auto number = take_number(text, true);
  if (!number) return std::nullopt;
  std::string unit = base::lowercase(text);
  if (unit.size() > 1 && unit.ends_with('b')) unit.pop_back();  // KB
  if (unit.size() > 1 && unit.ends_with('i')) unit.pop_back();  // KiB
  for (const Unit& known : units) {
    const double value = std::round(*number * known.factor);
    if (known.name == unit && value <= kLargest) return Range{value, value};
  }
  return std::nullopt;
}

std::optional<Range> plain_number(std::string_view text) {
  const auto number = take_number(text, false);
  if (!number || !text.empty() || *number > kLargest) return std::nullopt;
  return Range{*number, *number};
}

std::optional<Range> status(std::string_view text) {
  const bool whole_class = text.size() == 3 && text[0] >= '1' && text[0] <= '9' &&
                           base::lower(text[1]) == 'x' && base::lower(text[2]) == 'x';
  if (whole_class) return Range{(text[0] - '0') * 100., (text[0] - '0') * 100. + 99};
  const auto range = plain_number(text);
  return range && range->last <= 999 ? range : std::nullopt;
}

/// Two digits, or as many as `digits`, at the front of `text`, behind `before` (0: nothing).
bool take_digits(std::string_view& text, char before, int digits, int& value) {
  if (before != 0) {
    if (text.empty() || text.front() != before) return false;
    text.remove_prefix(1);
  }
  const std::string_view part = text.substr(0, static_cast<std::size_t>(digits));
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
  if (error != std::errc{} || end != part.data() + digits || value < 0) return false;
  text.remove_prefix(part.size());
  return true;
}

/// "Z" or "+02:00", in seconds; empty: local time.
bool take_zone(std::string_view& text, std::optional<int>& offset) {
  if (text.empty()) return true;
  const char sign = text.front();
  if (sign == 'Z' || sign == 'z') {
    text.remove_prefix(1);
    offset = 0;
    return text.empty();
  }
  int hours = 0, minutes = 0;
  if ((sign != '+' && sign != '-') || !take_digits(text, sign, 2, hours) ||
      !take_digits(text, ':', 2, minutes) || hours > 14 || minutes > 59)
    return false;
  offset = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
  return text.empty();
}

/// A fraction of a second: up to six digits.
bool take_fraction(std::string_view& text, double& microseconds, double& step) {
  if (!text.starts_with('.')) return true;
  text.remove_prefix(1);
  microseconds = 0;
  step = 1e6;
  while (!text.empty() && base::is_digit(text.front()) && step > 1) {
    step /= 10;
    microseconds += (text.front() - '0') * step;
    text.remove_prefix(1);
  }
  return step < 1e6;
}

/// RFC 3339, or its beginning: a day, a minute, a second.
std::optional<Range> date(std::string_view text) {
  std::tm parts{};
  int year = 0, month = 0;
  if (!take_digits(text, 0, 4, year) || !take_digits(text, '-', 2, month) ||
      !take_digits(text, '-', 2, parts.tm_mday) || year < 1970 || month < 1 || month > 12 ||
      parts.tm_mday < 1 || parts.tm_mday > 31)
    return std::nullopt;
  parts.tm_year = year - 1900;
  parts.tm_mon = month - 1;
  parts.tm_isdst = -1;
  double microseconds = 0, step = 86400e6;
  if (!text.empty() && (text.front() == 'T' || text.front() == 't')) {
    if (!take_digits(text, text.front(), 2, parts.tm_hour) ||
        !take_digits(text, ':', 2, parts.tm_min) || parts.tm_hour > 23 || parts.tm_min > 59)
      return std::nullopt;
    step = 60e6;
    if (text.starts_with(':')) {
      step = 1e6;
      if (!take_digits(text, ':', 2, parts.tm_sec) || parts.tm_sec > 60 ||
          !take_fraction(text, microseconds, step))
        return std::nullopt;
    }
  }
  std::optional<int> offset;
  if (!take_zone(text, offset)) return std::nullopt;
  const std::time_t seconds = offset ? timegm(&parts) - *offset : std::mktime(&parts);
  const double first = static_cast<double>(seconds) * 1e6 + std::round(microseconds);
  if (first < 0 || first > kLargest) return std::nullopt;
  return Range{first, first + step - 1};
}

/// What times count from.
struct Origin {
  flow::Time now;
  Relative relative;
};

std::optional<Range> time(std::string_view text, Origin origin) {
  if (const auto day = date(text)) return day;
  bool back = origin.relative == Relative::ago;
  if (text.starts_with('-') || text.starts_with('+')) {
    back = text.front() == '-';
    text.remove_prefix(1);
  }
  const auto distance = with_unit(text, kDurations);
  if (!distance) return std::nullopt;
  const auto since_epoch =
      std::chrono::duration_cast<std::chrono::microseconds>(origin.now.time_since_epoch()).count();
  const double offset = back ? -distance->first : distance->first;
  const double point = std::clamp(static_cast<double>(since_epoch) + offset, 0., kLargest);
  return Range{point, point};
}

std::optional<Range> one(ValueType type, std::string_view text, Origin origin) {
  switch (type) {
    case ValueType::status:
      return status(text);
    case ValueType::size:
      return with_unit(text, kSizes);
    case ValueType::duration:
      return with_unit(text, kDurations);
    case ValueType::time:
      return time(text, origin);
    default:
      return plain_number(text);
  }
}

std::optional<Range> range(ValueType type, std::string_view text, Origin origin) {
  std::size_t dash = text.find(".."), width = 2;
  if (dash == text.npos && type != ValueType::time) dash = text.find('-', 1), width = 1;
  if (dash == text.npos) return one(type, text, origin);
  const auto first = one(type, text.substr(0, dash), origin);
  const auto last = one(type, text.substr(dash + width), origin);
  if (!first || !last || first->first > last->last) return std::nullopt;
  return Range{first->first, last->last};
}

/// JSON's form of a number, roughly: what a document can hold.
std::optional<Range> json_number(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const auto number = take_number(text, true);
  if (!number || !text.empty()) return std::nullopt;
  const double value = negative ? -*number : *number;
  return Range{value, value};
}

std::string render_one(ValueType type, double value) {
  const auto whole = static_cast<std::int64_t>(value);
  if (type == ValueType::duration) return fmt::format("{}us", whole);
  if (type == ValueType::time) return base::rfc3339(flow::Time(std::chrono::microseconds(whole)));
  return std::to_string(whole);
}

std::string describe_size(double value) {
  for (auto unit = kSizes.rbegin(); unit != kSizes.rend(); ++unit) {
    const double count = value / unit->factor;
    if (value > 0 && unit->factor > 1 && count == std::floor(count))
      return fmt::format("{} {}iB", static_cast<std::int64_t>(count), base::upper(unit->name[0]));
  }
  return fmt::format("{} bytes", static_cast<std::int64_t>(value));
}

std::string describe_duration(double value) {
  for (auto unit = kDurations.rbegin(); unit != kDurations.rend(); ++unit) {
    const double count = value / unit->factor;
    if (count >= 1 && count == std::floor(count))
      return fmt::format("{} {}", static_cast<std::int64_t>(count),
                         unit->name == "m" ? "min" : unit->name);
  }
  return fmt::format("{} us", static_cast<std::int64_t>(value));
}

std::string describe_one(ValueType type, double value) {
  if (type == ValueType::size) return describe_size(value);
  if (type == ValueType::duration) return describe_duration(value);
  return render_one(type, value);
}

}  // namespace

std::string_view expected_value(ValueType type, Relative relative) {
  switch (type) {
    case ValueType::number:
      return "a number such as 443, or a range such as 8000-8100";
    case ValueType::status:
      return "a status such as 404, 4xx, 500-599 or >=400";
    case ValueType::size:
      return "a size such as 512, 10k or 1.5M";
    case ValueType::duration:
      return "a duration such as 300ms, 2s or 5m";
    case ValueType::time:
      return relative == Relative::ago
                 ? "a time such as 2026-11-30, 2026-11-30T09:15, 2026-11-30T09:15:00Z or 10m (ago)"
                 : "a time such as 2026-11-30, 2026-11-30T09:15:00Z, 10d (from now) or -10d (ago)";
    case ValueType::address:
      return "an address or a network such as 192.0.2.1, 10.0.0.0/8 or fe80::/10";
    case ValueType::flag:
      return "nothing: it is true or false by itself";
    case ValueType::text:
    case ValueType::json:
      break;
  }
  return "a text";
}

std::optional<Operand> parse_operand(ValueType type, std::string_view text, flow::Time now,
                                     Relative relative) {
  Operand operand{std::string(text), std::nullopt, std::nullopt};
  switch (type) {
    case ValueType::text:
      return operand;
    case ValueType::json:
      operand.range = json_number(text);
      return operand;
    case ValueType::address: {
      const auto network = base::parse_network(text);
      if (!network) return std::nullopt;
      operand.network = *network;
      return operand;
    }
    case ValueType::flag:
      return std::nullopt;
    default:
      operand.range = range(type, text, {now, relative});
      return operand.range ? std::optional(std::move(operand)) : std::nullopt;
  }
}

std::string render_range(ValueType type, const Range& range) {
  if (range.first == range.last) return render_one(type, range.first);
  return render_one(type, range.first) + (type == ValueType::time ? ".." : "-") +
         render_one(type, range.last);
}

std::string describe_range(ValueType type, const Range& range) {
  if (range.first == range.last) return describe_one(type, range.first);
  return describe_one(type, range.first) + " to " + describe_one(type, range.last);
}

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool last = i + 1 == text.size();
    const bool escaping =
        text[i] == '\\' && (last || std::string_view("\\\"'").find(text[i + 1]) != text.npos);
    if (text[i] == '"' || escaping) out += '\\';
    out += text[i];
  }
  return out += '"';
}

}  // namespace mitm::query
