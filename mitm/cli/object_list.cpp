// Errors name their place.
#include "mitm/cli/object_list.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "base/suggestion.h"
#include "base/text.h"

namespace mitm::cli {
namespace {

std::string unknown_key(std::string_view key, const std::vector<std::string_view>& keys) {
  const std::string near = base::suggestion(key, keys);
  return near.empty() ? fmt::format("unknown key; expected one of {}", fmt::join(keys, ", "))
                      : "unknown key" + near;
}

}  // namespace

void ObjectErrors::add(std::string_view key, const std::string& why) {
  lines_.push_back(fmt::format("[{}].{}: {}", place_, base::printable(key), why));
}

void ObjectErrors::add_unknown_keys(const nlohmann::json& data,
                                    const std::vector<std::string_view>& keys) {
  for (const auto& [key, value] : data.items()) {
    if (std::ranges::find(keys, key) == keys.end()) add(key, unknown_key(key, keys));
  }
}

void ObjectErrors::move_to(std::vector<std::string>& all) {
  all.insert(all.end(), std::make_move_iterator(lines_.begin()),
             std::make_move_iterator(lines_.end()));
}

}  // namespace mitm::cli
