#include "mitm/format/shell_words.h"

#include <algorithm>

#include "base/ascii.h"

namespace mitm::format {

std::string shell_word(std::string_view word) {
  constexpr std::string_view kPlain = "-_./:=,@%+";
  const bool plain = std::all_of(word.begin(), word.end(), [&](char c) {
    return base::is_letter(c) || base::is_digit(c) || kPlain.find(c) != kPlain.npos;
  });
  if (plain && !word.empty()) return std::string(word);
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + '\'';
}

std::string shell_words(std::span<const std::string> words) {
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    line += shell_word(word);
  }
  return line;
}

std::vector<std::string> split_shell_words(std::string_view line) {
  std::vector<std::string> words;
  bool inside = false;  // of a word
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (!quoted && c == ' ') {
      inside = false;
      continue;
    }
    if (!inside) words.emplace_back();
    inside = true;
    if (c == '\'') {
      quoted = !quoted;
      continue;
    }
    if (!quoted && c == '\\' && i + 1 < line.size()) c = line[++i];
    words.back() += c;
  }
  return words;
}

}  // namespace mitm::format
