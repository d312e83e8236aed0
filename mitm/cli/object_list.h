// Options whose value is a list of objects (rules, client-certs). All that is wrong with a list is
// said at once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace mitm::cli {

/// What is wrong with one object of a list: "[1].host: expected ...", each.
class ObjectErrors {
 public:
  explicit ObjectErrors(std::size_t place) : place_(place) {}

  void add(std::string_view key, const std::string& why);
  void add_unknown_keys(const nlohmann::json& data, const std::vector<std::string_view>& keys);
  void move_to(std::vector<std::string>& all);

 private:
  std::size_t place_;
  std::vector<std::string> lines_;
};

/// Each object of `list` through `read`, or the lines of all that is wrong.
template <class Item>
base::Result<std::vector<Item>> read_list(const nlohmann::json& list,
                                          Item (*read)(const nlohmann::json&, ObjectErrors&)) {
  std::vector<Item> items;
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < list.size(); ++i) {
    ObjectErrors wrong{i};
    items.push_back(read(list[i], wrong));
    wrong.move_to(lines);
  }
  if (!lines.empty()) return base::failure("{}", fmt::join(lines, "\n"));
  return items;
}

}  // namespace mitm::cli
