// Names near one that is not known.
#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/suggestion.h"
#include "mitm/query/operand_reader.h"

namespace mitm::query {
namespace {

constexpr std::size_t kMost = 12;

std::vector<std::string_view> typed_names() {
  std::vector<std::string_view> names;
  for (const Field* const field : all_fields()) {
    if (!field->never.empty()) continue;
    names.push_back(field->name);
    for (std::string_view rest = field->aliases; !rest.empty();) {
      const auto size = std::min(rest.find(' '), rest.size());
      names.push_back(rest.substr(0, size));
      rest.remove_prefix(std::min(size + 1, rest.size()));
    }
  }
  return names;
}

std::string did_you_mean(const std::vector<std::string>& names) {
  std::string text = "did you mean ";
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text + '?';
}

}  // namespace

std::string near_fields(std::string_view name) {
  // "resp.header.server": as other tools write it.
  for (const Field* const field : all_fields()) {
    const std::string group = std::string(field->name) + ".";
    if (field->keyed != Keyed::no && name.starts_with(group) && name.size() > group.size())
      return did_you_mean({fmt::format("{}[\"{}\"]", field->name, name.substr(group.size()))});
  }
  const auto known = typed_names();
  std::vector<std::string> near;
  const auto add = [&](std::string_view other) {
    if (near.size() < kMost && std::ranges::find(near, other) == near.end())
      near.emplace_back(other);
  };
  if (const auto nearest = base::nearest_word(name, known); !nearest.empty()) add(nearest);
  const auto last = name.substr(name.rfind('.') + 1);
  const auto group = name.substr(0, name.find('.') == name.npos ? 0 : name.find('.') + 1);
  for (const auto other : known)
    if (!last.empty() && other.substr(other.rfind('.') + 1) == last) add(other);
  for (const Field* const field : all_fields())
    if (!group.empty() && field->name.starts_with(group)) add(field->name);
  return near.empty() ? "osproxy query --list-fields lists all fields" : did_you_mean(near);
}

std::string near_operators(std::string_view letter) {
  if (const Field* const field = find_field(letter)) {
    const std::string name(field->name);
    return field->letter.empty() ? "the field is written without ~: " + name
                                 : did_you_mean({"~" + std::string(field->letter), name});
  }
  std::vector<std::string_view> known;
  for (const Field* const field : all_fields())
    if (!field->letter.empty()) known.push_back(field->letter);
  const auto nearest = base::nearest_word(letter, known);
  return nearest.empty() ? "osproxy query --list-fields lists all operators"
                         : did_you_mean({"~" + nearest});
}

}  // namespace mitm::query
