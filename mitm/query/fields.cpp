// The parts of the table put together, and found by name.
#include <algorithm>
#include <vector>

#include "mitm/query/field.h"

namespace mitm::query {
namespace {

/// Whether `word` is one of `words`, which are separated by spaces.
bool is_one_of(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    const auto size = std::min(words.find(' '), words.size());
    if (words.substr(0, size) == word) return true;
    words.remove_prefix(std::min(size + 1, words.size()));
  }
  return false;
}

}  // namespace

std::span<const Field* const> all_fields() {
  static const std::vector<const Field*> fields = [] {
    std::vector<const Field*> all;
    for (const auto part : {kind_fields(), process_fields(), connection_fields(), http_fields(),
                            content_fields(), message_fields(), note_fields()}) {
      for (const Field& field : part) all.push_back(&field);
    }
    return all;
  }();
  return fields;
}

const Field* find_field(std::string_view name) {
  for (const Field* const field : all_fields()) {
    if (!field->never.empty()) continue;
    if (field->name == name || is_one_of(field->aliases, name)) return field;
  }
  return nullptr;
}

const Field* find_operator(std::string_view letter) {
  for (const Field* const field : all_fields())
    if (!letter.empty() && field->letter == letter) return field;
  return nullptr;
}

}  // namespace mitm::query
