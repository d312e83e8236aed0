// By edit distance.
#include "base/suggestion.h"

#include <algorithm>

#include <fmt/format.h>

namespace base {
namespace {

/// Levenshtein's, with two letters that have changed places as one mistake.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> table(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        table[i][j] = i + j;
        continue;
      }
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      table[i][j] =
          std::min({table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + change});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
    }
  }
  return table[a.size()][b.size()];
}

}  // namespace

std::string nearest_word(std::string_view typed, const std::vector<std::string_view>& words) {
  constexpr std::size_t kLongest = 100;
  if (typed.size() > kLongest) return {};
  const std::size_t farthest = std::max<std::size_t>(1, typed.size() / 3);
  std::size_t least = farthest + 1;
  std::string_view nearest;
  for (const std::string_view word : words) {
    if (word.size() > typed.size() + farthest || word.size() + farthest < typed.size()) continue;
    const std::size_t far = distance(typed, word);
    if (far >= least) continue;
    least = far;
    nearest = word;
  }
  return std::string(nearest);
}

std::string suggestion(std::string_view typed, const std::vector<std::string_view>& words) {
  const auto nearest = nearest_word(typed, words);
  return nearest.empty() ? nearest : fmt::format("; did you mean {}?", nearest);
}

}  // namespace base
