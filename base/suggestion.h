// What was probably meant by a word that is not known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace base {

/// The first of the nearest of `words`, where one is near: at most a third of the letters differ.
std::string nearest_word(std::string_view typed, const std::vector<std::string_view>& words);

/// "; did you mean WORD?" for the nearest of `words`; empty when none is near.
std::string suggestion(std::string_view typed, const std::vector<std::string_view>& words);

}  // namespace base
