// UTF-8 by RFC 3629 and time by RFC 3339.
#include "base/text.h"

#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace base {
namespace {

/// Length in bytes of the well-formed sequence at the start of `bytes`; 0 when there is none.
std::size_t sequence_length(std::string_view bytes) {
  const auto at = [&](std::size_t i) { return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U; };
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

std::string printable(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t n = sequence_length(bytes);
    const auto lead = static_cast<unsigned char>(bytes[0]);
    const bool control = (n == 1 && (lead < 0x20 || lead == 0x7f)) ||
                         (n == 2 && lead == 0xc2 && static_cast<unsigned char>(bytes[1]) < 0xa0);
    if (n == 0) {
      out.append("\xef\xbf\xbd");
    } else if (control) {
      for (const char c : bytes.substr(0, n)) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
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
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(system_clock::to_time_t(whole)), micros);
}

}  // namespace base
