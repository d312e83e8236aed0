// Command lines for a POSIX shell.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mitm::format {

/// `word` in such a form that a shell takes it as one word, whatever is in it (no zero bytes).
[[nodiscard]] std::string shell_word(std::string_view word);
/// All of them, parted by spaces.
[[nodiscard]] std::string shell_words(std::span<const std::string> words);
/// The reverse of shell_words(): single quotes and backslashes are undone, nothing else is special.
[[nodiscard]] std::vector<std::string> split_shell_words(std::string_view line);

}  // namespace mitm::format
