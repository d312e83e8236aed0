// What is wrong, or surprising, in the text of a filter.
#pragma once

#include <cstddef>
#include <string>

namespace mitm::query {

/// Why a filter cannot be read. Positions count bytes of the text.
struct Problem {
  std::size_t at = 0;
  std::size_t length = 0;  ///< 0: at the end of the text
  std::string found;       ///< "'40x'", "the end of the filter"
  std::string expected;    ///< "a status such as 404, 4xx, 500-599 or >=400"
  std::string hint;        ///< what was probably meant; empty: nothing is near

  /// One line: "found '40x', expected a status ...; did you mean 4xx?". Text that came from the
  /// filter is made safe to show.
  [[nodiscard]] std::string message() const;
};

/// A filter that can be read, but perhaps not as it was meant.
struct Warning {
  std::size_t at = 0;
  std::size_t length = 0;
  std::string text;  ///< one line, no full stop
};

}  // namespace mitm::query
