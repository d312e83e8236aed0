// Sizes and times as mitmdump's users know them: about three digits and a unit.
#include "mitm/format/units.h"

#include <iterator>

#include <fmt/format.h>

namespace mitm::format {

std::string size_text(std::uint64_t bytes) {
  constexpr char kUnits[] = {'k', 'm', 'g', 't'};
  if (bytes < 1000) return fmt::format("{}b", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return fmt::format("{:.1f}{}", value, kUnits[unit]);
}

std::string duration_text(std::chrono::microseconds duration) {
  const double milliseconds = static_cast<double>(duration.count()) / 1000;
  if (milliseconds < 9.95) return fmt::format("{:.1f}ms", milliseconds);
  if (milliseconds < 999.5) return fmt::format("{:.0f}ms", milliseconds);
  const double seconds = milliseconds / 1000;
  if (seconds < 9.995) return fmt::format("{:.2f}s", seconds);
  return seconds < 99.95 ? fmt::format("{:.1f}s", seconds) : fmt::format("{:.0f}s", seconds);
}

}  // namespace mitm::format
