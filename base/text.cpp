// UTF-8 by RFC 3629, what Unicode shows nothing for, and time by RFC 3339.
#include "base/text.h"

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <iterator>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace base {
namespace {

/// Length in bytes of the well-formed sequence at the start of `bytes`; 0 if none.
std::size_t sequence_length(std::string_view bytes) {
  const auto at = [&](std::size_t i) {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U;
  };
  const auto tail = [&](std::size_t i) { return (at(i) & 0xc0U) == 0x80U; };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return tail(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const bool overlong = lead == 0xe0 && at(1) < 0xa0;
    const bool surrogate = lead == 0xed && at(1) > 0x9f;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool out_of_range = (lead == 0xf0 && at(1) < 0x90) || (lead == 0xf4 && at(1) > 0x8f);
    return tail(1) && tail(2) && tail(3) && !out_of_range ? 4 : 0;
  }
  return 0;
}

struct Range {
  char32_t first, last;
};
/// Unicode's Default_Ignorable_Code_Point without U+FE00 to U+FE0F (variation selectors), and the
/// separators U+2028 and U+2029 and annotations U+FFF9 to U+FFFB. In order.
constexpr Range kInvisible[] = {
    {0xad, 0xad},     {0x34f, 0x34f},     {0x61c, 0x61c},     {0x115f, 0x1160},
    {0x17b4, 0x17b5}, {0x180b, 0x180f},   {0x200b, 0x200f},   {0x2028, 0x202e},
    {0x2060, 0x206f}, {0x3164, 0x3164},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},
    {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
};

}  // namespace

bool is_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t n = sequence_length(bytes);
    if (n == 0) return false;
    bytes.remove_prefix(n);
  }
  return true;
}

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t n = sequence_length(bytes);
    n ? out.append(bytes.substr(0, n)) : out.append("\xef\xbf\xbd");
    bytes.remove_prefix(std::max<std::size_t>(n, 1));
  }
  return out;
}

Character first_character(std::string_view bytes) {
  const std::size_t n = sequence_length(bytes);
  if (n == 0) return {};
  const auto lead = static_cast<unsigned char>(bytes[0]);
  char32_t code = n == 1 ? lead : lead & (0x7fU >> n);
  for (std::size_t i = 1; i < n; ++i)
    code = code << 6U | (static_cast<unsigned char>(bytes[i]) & 0x3fU);
  return {code, n};
}

bool is_invisible(char32_t code) {
  if (code < 0xad) return false;
  const auto* const range =
      std::ranges::find_if(kInvisible, [&](const Range& r) { return code <= r.last; });
  return range != std::end(kInvisible) && code >= range->first;
}

std::string printable(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const auto [code, n] = first_character(bytes);
    if (n == 0) {
      out.append("\xef\xbf\xbd");
    } else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
      for (const char c : bytes.substr(0, n))
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else if (is_invisible(code)) {
      const auto number = static_cast<std::uint32_t>(code);
      out += number <= 0xffff ? fmt::format("\\u{:04x}", number) : fmt::format("\\U{:08x}", number);
    } else {
      out.append(bytes.substr(0, n));
    }
    bytes.remove_prefix(std::max<std::size_t>(n, 1));
  }
  return out;
}

std::string rfc3339(std::chrono::system_clock::time_point time) {
  using namespace std::chrono;
  const auto whole = floor<seconds>(time);
  const auto micros = duration_cast<microseconds>(time - whole).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(system_clock::to_time_t(whole)),
                     micros);
}

}  // namespace base
